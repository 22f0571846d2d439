"""Search: immediate searches and search jobs, suggestions, the index, words and their definitions."""

from services.gateway.search import dictionary, index, routes, search_jobs

HANDLERS = (
    routes.search,
    routes.search_by_body,
    routes.suggest,
    search_jobs.start_search,
    index.read_index,
    index.reindex,
    dictionary.list_words,
    dictionary.read_dictionary,
)
