"""The portal's addresses: `/portal/` leads to a tenant's pages at `/portal/t/<slug>/`."""

from django.urls import path

from config.portal import (
    alerts,
    budgets,
    entrance,
    home,
    keys,
    requests,
    runs,
    sessions,
)
from config.portal.books import chargebacks, deliveries, reports, spend, statements, teams
from config.portal.owners import allocation, changes, invitations, people, policy

app_name = "portal"
AT = "t/<slug:tenant>/"

urlpatterns = [
    path("", entrance.enter, name="entrance"),
    path("leave/", entrance.leave, name="leave"),
    path(AT, home.show_home, name="home"),
    path(f"{AT}keys/", keys.list_keys, name="keys"),
    path(f"{AT}keys/new/", keys.add_own, name="add_own_key"),
    path(f"{AT}keys/service/", keys.add_service, name="add_service_key"),
    path(f"{AT}keys/<int:key_id>/", keys.show_key, name="key"),
    path(f"{AT}keys/<int:key_id>/rotate/", keys.rotate, name="rotate_key"),
    path(f"{AT}keys/<int:key_id>/revoke/", keys.revoke, name="revoke_key"),
    path(f"{AT}keys/<int:key_id>/rights/", keys.change_rights, name="key_rights"),
    path(f"{AT}keys/<int:key_id>/tags/", allocation.change_key, name="key_tags"),
    path(f"{AT}connect/", keys.connect, name="connect"),
    path("runs/<int:id>", runs.find_run, name="find_run"),
    path(f"{AT}sessions/", sessions.show_sessions, name="sessions"),
    path(f"{AT}sessions/one/", sessions.show_session, name="session"),
    path(f"{AT}runs/", runs.open_run, name="runs"),
    path(f"{AT}runs/<int:id>/", runs.show_run, name="run"),
    path(f"{AT}runs/<int:id>/<slug:verb>/", runs.change_run, name="change_run"),
    path(f"{AT}requests/", requests.list_requests, name="requests"),
    path(f"{AT}requests/<uuid:request_id>/", requests.show_request, name="request"),
    path(f"{AT}budgets/", budgets.list_budgets, name="budgets"),
    path(f"{AT}budgets/new/", budgets.add_budget, name="add_budget"),
    path(f"{AT}budgets/<int:budget_id>/", budgets.show_budget, name="budget"),
    path(f"{AT}budgets/<int:budget_id>/change/", budgets.change_budget, name="change_budget"),
    path(f"{AT}budgets/<int:budget_id>/raise/", budgets.ask_raise, name="ask_raise"),
    path(f"{AT}raises/<uuid:asked_id>/", budgets.show_request, name="raise_request"),
    path(f"{AT}raises/<uuid:asked_id>/decide/", budgets.decide, name="decide_raise"),
    path(f"{AT}spend/", spend.show_spend, name="spend"),
    path(f"{AT}spend/file/", spend.spend_file, name="spend_file"),
    path(f"{AT}teams/", teams.show_teams, name="teams"),
    path(f"{AT}teams/user/", allocation.change_user, name="allocate_user"),
    path(f"{AT}months/", statements.list_months, name="months"),
    path(f"{AT}months/<str:label>/chargebacks/", chargebacks.show_chargebacks, name="chargebacks"),
    path(f"{AT}deliveries/", deliveries.list_schedules, name="deliveries"),
    path(f"{AT}deliveries/new/", deliveries.add_schedule, name="add_schedule"),
    path(f"{AT}deliveries/<int:schedule_id>/", deliveries.change_schedule, name="schedule"),
    path(f"{AT}deliveries/<int:schedule_id>/remove/", deliveries.remove, name="remove_schedule"),
    path(f"{AT}months/<int:number>/", statements.show_statement, name="statement"),
    path(f"{AT}months/<int:number>/facts/", statements.statement_facts, name="statement_facts"),
    path(f"{AT}months/<int:number>/<int:file_id>/", statements.statement_file, name="statement_file"),
    path(f"{AT}months/<slug:month>/", reports.show_month, name="month"),
    path(f"{AT}months/<slug:month>/<slug:format_name>/", reports.month_file, name="month_file"),
    path(f"{AT}alerts/", alerts.list_alerts, name="alerts"),
    path(f"{AT}alerts/<int:event_id>/seen/", alerts.see_alert, name="see_alert"),
    path(f"{AT}policy/", policy.show_policy, name="policy"),
    path(f"{AT}people/", people.list_people, name="people"),
    path(f"{AT}people/invite/", invitations.send, name="invite"),
    path(f"{AT}people/invitations/<int:invitation_id>/cancel/", invitations.cancel, name="cancel_invitation"),
    path(f"{AT}changes/", changes.list_changes, name="changes"),
    path(f"{AT}people/<int:membership_id>/", people.show_person, name="person"),
    path(f"{AT}people/<int:membership_id>/remove/", people.remove_person, name="remove_person"),
]
