"""Devices that compute while the host goes on: transfers to them, and questions that would wait for their answer."""
