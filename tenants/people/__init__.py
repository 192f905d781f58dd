"""The people of the admin and the portal: what each role may do, how people come, and who did what.

It owns rights, invitations, who must have a second factor, and the audit log. It does not own how a person signs in
(`signing_in`).
"""
