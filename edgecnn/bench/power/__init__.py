"""Power and energy of a model: phases of idle and work, readings turned into joules, and how sure they are."""
