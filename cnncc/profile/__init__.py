"""Where a network's time goes: every step measured, next to what the machine could do at best."""

from cnncc.profile.measure import Profile, Step, profile, time_whole
from cnncc.profile.page import page

__all__ = ["Profile", "Step", "page", "profile", "time_whole"]
