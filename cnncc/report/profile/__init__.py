"""Where a network's time goes: every step measured, next to what the machine could do at best."""

from cnncc.report.profile.gaps import MEGAFLOPS, NEAR, Gap, Large
from cnncc.report.profile.measure import Profile, Step, profile, time_whole
from cnncc.report.profile.page import page

__all__ = ["MEGAFLOPS", "NEAR", "Gap", "Large", "Profile", "Step", "page", "profile", "time_whole"]
