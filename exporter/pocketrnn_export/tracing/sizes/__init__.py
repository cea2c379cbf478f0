"""Find for which sizes a module's conditions on its input's sizes hold, and which programs to trace."""
