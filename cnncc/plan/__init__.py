"""Memory planning: which values share memory, in which order steps run, and where each value lies in the arena."""

from cnncc.plan.order_steps import BestOrder, best_order, order_steps
from cnncc.plan.plan_arena import ArenaPlan, Placement, plan_arena

__all__ = ["ArenaPlan", "BestOrder", "Placement", "best_order", "order_steps", "plan_arena"]
