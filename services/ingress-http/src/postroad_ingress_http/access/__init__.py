"""Who may do what: tokens and their scopes, SMTP logins, the first account."""
