//! Drives a real `lamchat` process from outside.
