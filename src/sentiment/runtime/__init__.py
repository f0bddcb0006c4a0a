"""The device and its habits, several processes, the state that training resumes from."""
