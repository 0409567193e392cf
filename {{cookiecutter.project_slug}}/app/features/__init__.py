"""The features: one package each, found by `app.feature.load_features`.

A package offers `create_feature(settings) -> Feature`. It may use the platform (`app.db`,
`app.tasks`, `app.mail`, ...) and never another feature; to remove it, delete its folder and its
tests, and let a new migration drop its tables. `scaffold/` has one to begin with.
"""
