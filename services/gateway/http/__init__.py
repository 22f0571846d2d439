"""What every route uses: authentication, problems, responses, middleware."""
