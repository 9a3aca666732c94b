-- The tables that this project reads.
CREATE TABLE companies (
    company_id integer PRIMARY KEY,
    name text NOT NULL,
    domain text,
    industry text,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE people (
    person_id integer PRIMARY KEY,
    company_id integer REFERENCES companies,
    email text NOT NULL,
    first_name text,
    last_name text,
    title text,
    rep text, -- the address with which the owner signs in to Outreach
    score numeric,
    segment text,
    tags text[],
    updated_at timestamptz NOT NULL DEFAULT now()
);
