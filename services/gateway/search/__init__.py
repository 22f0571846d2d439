"""Search: immediate searches and search jobs, suggestions, the index, words and their definitions."""

from services.gateway.search import dictionary, index, reindex, routes, search_jobs

HANDLERS = (
    routes.search,
    routes.search_by_body,
    routes.suggest,
    search_jobs.start_search,
    index.read_index,
    reindex.reindex,
    dictionary.list_words,
    dictionary.read_dictionary,
)
