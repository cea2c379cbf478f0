"""Find out for which sizes a module's conditions on its input's size are true, and decide which programs to trace."""
