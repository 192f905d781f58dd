"""Planning: what will be spent, from what was spent by day.

It owns forecasts and how good they were, pace, unit costs with their events, prices ahead and what is unused. It does not own
what was spent, which it only reads, and books nothing.

- `forecasts.forecast_tenants(ids)` gives each tenant's month to its end, `forecasts.forecast_total(ids)` that of all of them
  together; one statement each.
- `forecasts.open_windows(ids)` gives the budgets' windows that run now, the fullest first, and
  `forecasts.forecast_windows(windows)` their forecasts by `Window.key`; a statement for each scope.
- A `Forecast` has `low`, `middle` and `high`: nine of ten results lie between low and high. **Ask `is_known` first**; `note` says
  it in words.
- `pace.pace_of(window, forecast)` ("62 % spent, 48 % of the time gone") and `pace.runway_of(limit, forecast)` ("empty between
  17 Nov and 21 Nov") have a text each (`str`), and their figures.

A forecast is above a budget for an alert when `forecast.is_known and forecast.middle > window.limit`; `low > limit` is nearly
certain. Pure arithmetic over arrays is in `patterns` and `intervals`; the database is asked by `histories` and `open_windows`.
"""
