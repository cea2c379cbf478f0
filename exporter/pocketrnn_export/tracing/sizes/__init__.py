"""Find out for which sizes a module's conditions on the sizes of its input hold, and which programs to trace."""
