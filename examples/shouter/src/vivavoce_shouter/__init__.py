"""The provider `shouter` of vivavoce: says everything louder."""
