CREATE TABLE masks (
    owner TEXT NOT NULL,
    photo TEXT NOT NULL,
    mask TEXT NOT NULL,
    PRIMARY KEY (owner, photo)
);
ALTER TABLE turns ADD COLUMN mask TEXT;
CREATE INDEX turns_by_mask ON turns (mask);
