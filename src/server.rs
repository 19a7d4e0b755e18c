//! Assembly: configuration to listeners and tasks, and their ordered end.
