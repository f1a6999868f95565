"""Tables, fakes and reference implementations that several test files share."""
