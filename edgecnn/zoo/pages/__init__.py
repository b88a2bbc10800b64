"""What `edgecnn zoo` shows: pages, stages, tables of the surveys, drawings. Nothing here computes a network."""
