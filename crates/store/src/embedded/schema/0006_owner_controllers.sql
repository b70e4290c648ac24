-- What each call of an owner's controllers may use, where it differs from the operator's default: a JSON object.
ALTER TABLE owners ADD COLUMN controllers TEXT NOT NULL DEFAULT '{}';
