"""What Tenfold survives, as figures: campaigns too long for the test suite, and the page that tells them."""
