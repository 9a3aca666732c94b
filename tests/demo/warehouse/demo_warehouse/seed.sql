-- The marts of an invented company: 40 accounts and 120 prospects, most of them clean, some as dirty as in any
-- warehouse. A comment above each dirty row says what must become of it in Outreach.
-- All names, people and numbers are made up; but for one, the domains end in .example or .test, which nobody owns.

CREATE SCHEMA IF NOT EXISTS marts;
USE SCHEMA marts;

CREATE TABLE accounts (
  id                 NUMBER(38, 0) NOT NULL PRIMARY KEY,
  custom_id          VARCHAR,
  name               VARCHAR,
  domain             VARCHAR,
  industry           VARCHAR,
  employees          NUMBER(38, 0),
  founded_at         TIMESTAMP_NTZ,
  locality           VARCHAR,
  tags               ARRAY,
  buyer_intent_score FLOAT,
  crm_payload        VARIANT,        -- the warehouse's own: left out, and named in the first log line of the stream
  row_hash           VARCHAR,        -- likewise
  loaded_at          TIMESTAMP_NTZ   -- likewise
);

INSERT INTO accounts
WITH company AS (
  SELECT * FROM VALUES
    (1, 'Acorn Optics', 'acorn-optics.example', 'Manufacturing', 140, '1987-06-05', 'Jena, Germany', '["small"]'),
    (2, 'Amber Kettle Foods', 'amber-kettle.example', 'Food', 620, '1994-07-21', 'Porto, Portugal', '["mid-market"]'),
    (3, 'Basalt Bridge Engineering', 'basalt-bridge.example', 'Construction', 2300, '1968-02-27', 'Bergen, Norway', '["enterprise", "renewal"]'),
    (4, 'Blue Harbor Logistics', 'blue-harbor.example', 'Logistics', 4100, '1979-09-04', 'Rotterdam, Netherlands', '["enterprise"]'),
    (5, 'Brightwell Dental Group', 'brightwell-dental.example', 'Healthcare', 310, '2008-06-19', 'Leeds, United Kingdom', '["mid-market"]'),
    (6, 'Cedar Loop Furniture', 'cedar-loop.example', 'Retail', 95, '2014-09-07', 'Aarhus, Denmark', '["small", "renewal"]'),
    (7, 'Cinder Path Energy', 'cinder-path.example', 'Energy', 5200, '1951-01-03', 'Calgary, Canada', '["enterprise"]'),
    (8, 'Clover Ledger', 'clover-ledger.example', 'Financial Services', 88, '2019-07-14', 'Dublin, Ireland', '["small"]'),
    (9, 'Copper Finch Media', 'copper-finch.example', 'Media', 47, '2016-04-03', 'Austin, United States', '["small", "renewal"]'),
    (10, 'Dovetail Robotics Works', 'dovetail-robotics.example', 'Manufacturing', 210, '2012-09-14', 'Turin, Italy', '["mid-market"]'),
    (11, 'Driftwood Insurance', 'driftwood-insurance.example', 'Insurance', 1500, '1972-01-27', 'Halifax, Canada', '["enterprise"]'),
    (12, 'Elmstone Schools', 'elmstone-schools.example', 'Education', 780, '1999-02-08', 'Bristol, United Kingdom', '["mid-market", "inbound"]'),
    (13, 'Fable and Quill Press', 'fable-quill.example', 'Publishing', 36, '2003-11-21', 'Edinburgh, United Kingdom', '["small"]'),
    (14, 'Farrow Field Seeds', 'farrow-field.example', 'Agriculture', 265, '1961-10-02', 'Lyon, France', '["mid-market"]'),
    (15, 'Gannet Air Charter', 'gannet-air.example', 'Travel', 150, '2001-10-13', 'Reykjavik, Iceland', '["mid-market", "inbound"]'),
    (16, 'Glasswing Analytics', 'glasswing-analytics.example', 'Software', 64, '2020-01-08', 'Tallinn, Estonia', '["small"]'),
    (17, 'Granite Row Mining', 'granite-row.example', 'Mining', 8800, '1934-01-18', 'Perth, Australia', '["enterprise"]'),
    (18, 'Heron Lake Dairy', 'heron-lake.example', 'Food', 420, '1948-05-14', 'Madison, United States', '["mid-market", "renewal"]'),
    (19, 'Indigo Thread Mills', 'indigo-thread.example', 'Textiles', 930, '1982-03-18', 'Ghent, Belgium', '["mid-market"]'),
    (20, 'Juniper Gate Hotels', 'juniper-gate.example', 'Hospitality', 2750, '1990-02-19', 'Innsbruck, Austria', '["enterprise"]'),
    (21, 'Kestrel Point Security', 'kestrel-point.example', 'Security', 118, '2011-09-27', 'Haifa, Israel', '["small", "partner"]'),
    (22, 'Lantern Bay Seafood', 'lantern-bay.example', 'Food', 340, '1976-11-06', 'Busan, South Korea', '["mid-market"]'),
    (23, 'Larkspur Biolabs', 'larkspur-biolabs.example', 'Biotechnology', 205, '2015-02-19', 'Basel, Switzerland', '["mid-market"]'),
    (24, 'Maple Cog Bicycles', 'maple-cog.example', 'Retail', 73, '2009-11-07', 'Utrecht, Netherlands', '["small", "inbound"]'),
    (25, 'Marrow Bone Pet Care', 'marrow-bone.example', 'Consumer Goods', 56, '2018-06-04', 'Denver, United States', '["small"]'),
    (26, 'Night Heron Software', 'night-heron.example', 'Software', 390, '2007-09-23', 'Wellington, New Zealand', '["mid-market"]'),
    (27, 'Oat and Anvil Brewing', 'oat-anvil.example', 'Food', 41, '2013-10-02', 'Leuven, Belgium', '["small", "renewal"]'),
    (28, 'Paper Lantern Games', 'paper-lantern.example', 'Software', 132, '2010-10-07', 'Osaka, Japan', '["small"]'),
    (29, 'Quarry Hill Cement', 'quarry-hill.example', 'Construction', 1900, '1957-08-22', 'Graz, Austria', '["enterprise"]'),
    (30, 'Red Kite Railways', 'red-kite.example', 'Transport', 6400, '1923-07-25', 'Cardiff, United Kingdom', '["enterprise", "inbound"]'),
    (31, 'Saltmarsh Pharma', 'saltmarsh-pharma.example', 'Pharmaceuticals', 3300, '1985-06-15', 'Malmo, Sweden', '["enterprise"]'),
    (32, 'Tin Whistle Telecom', 'tin-whistle.example', 'Telecommunications', 1250, '1998-10-15', 'Galway, Ireland', '["mid-market"]')
  AS v (id, name, domain, industry, employees, founded_at, locality, tags)
)
SELECT
  id,
  'C-' || TO_VARCHAR(id),
  name,
  domain,
  industry,
  employees,
  founded_at::TIMESTAMP_NTZ,
  locality,
  PARSE_JSON(tags)::ARRAY,
  MOD(id * 37, 100) / 4,
  OBJECT_CONSTRUCT('system', 'crm', 'row', id),
  MD5(name),
  '2026-01-05 03:00:00'::TIMESTAMP_NTZ
FROM company;

INSERT INTO accounts (id, custom_id, name, domain, industry, employees, tags)
SELECT id, custom_id, name, domain, industry, employees, PARSE_JSON(tags)::ARRAY FROM VALUES
    -- Two companies called Acme: two accounts, because their domains differ.
    (101, 'C-101', 'Acme', 'acme-tools.example', 'Manufacturing', 480, '["mid-market"]'),
    (102, 'C-102', 'Acme', 'acme-travel.test', 'Travel', 35, '["small"]'),
    -- Account 1 once more, its domain a link and its head count newer: folded into one write, the later value wins.
    (103, 'C-1', 'Acorn Optics', 'https://WWW.Acorn-Optics.example/about-us', 'Manufacturing', 155, NULL),
    -- Letters beyond ASCII, in the name and in the domain: created.
    (104, 'C-104', 'Grünwald & Söhne Ærøskøbing', 'grünwald-söhne.example', 'Retail', 22, '["small"]'),
    -- A domain written as a link: created, found again by the plain domain too.
    (105, 'C-105', 'Velvet Otter Design', 'https://www.velvet-otter.example:443/', 'Media', 12, '[]'),
    -- No domain, no id, blanks for an industry: created, found again by its name.
    (106, NULL, 'Wren Street Bakery', NULL, '   ', NULL, NULL),
    -- A blank name: rejected, an account cannot be created without one.
    (107, 'C-107', '  ', 'nameless.example', 'Retail', 5, NULL),
    -- A name of 300 characters, 255 are allowed: rejected.
    (108, 'C-108', REPEAT('Long', 75), 'long-name.example', 'Retail', 5, NULL)
AS v (id, custom_id, name, domain, industry, employees, tags);

CREATE TABLE prospects (
  id                   NUMBER(38, 0) NOT NULL PRIMARY KEY,
  email                VARCHAR,
  emails               ARRAY,          -- joined behind EMAIL
  first_name           VARCHAR,
  last_name            VARCHAR,
  job_title            VARCHAR,
  company_name         VARCHAR,
  account_domain       VARCHAR,
  account_id           NUMBER(38, 0),  -- the warehouse's id, not Outreach's: left out
  phone                VARCHAR,
  mobile_phone         VARCHAR,
  city                 VARCHAR,
  country              VARCHAR,
  tags                 ARRAY,
  custom_1             VARCHAR,
  score                FLOAT,
  linkedin_connections VARCHAR,        -- a number, kept as text
  opted_out            BOOLEAN,
  added_at             TIMESTAMP_NTZ,
  graduation_date      DATE,
  job_start_date       VARCHAR,        -- a date, kept as text
  crm_payload          VARIANT,        -- the warehouse's own: left out
  row_hash             VARCHAR,        -- likewise
  loaded_at            TIMESTAMP_NTZ   -- likewise
);

INSERT INTO prospects
WITH person AS (
  SELECT * FROM VALUES
    (1001, 1, 'Mei', 'Novak', 'Head of Marketing'),
    (1002, 2, 'Felix', 'Lindqvist', 'Chief Financial Officer'),
    (1003, 3, 'Tessa', 'Novak', 'Sales Director'),
    (1004, 4, 'Quentin', 'Oyelaran', 'Purchasing Lead'),
    (1005, 5, 'Kofi', 'Castell', 'Chief Technology Officer'),
    (1006, 6, 'Rosa', 'Sandoval', 'Director of Operations'),
    (1007, 7, 'Lucia', 'Gallo', 'Revenue Operations Manager'),
    (1008, 8, 'Niall', 'Bakker', 'Chief Financial Officer'),
    (1009, 9, 'Tariq', 'Okafor', 'Head of Sales'),
    (1010, 10, 'Marek', 'Varga', 'VP Sales'),
    (1011, 11, 'Petra', 'Castell', 'Chief Financial Officer'),
    (1012, 12, 'Julia', 'Ueda', 'Chief Financial Officer'),
    (1013, 13, 'Bruno', 'Novak', 'VP Sales'),
    (1014, 14, 'Omar', 'Nakata', 'Operations Analyst'),
    (1015, 15, 'Marek', 'Almeida', 'Purchasing Lead'),
    (1016, 16, 'Marek', 'Hoang', 'Warehouse Manager'),
    (1017, 17, 'Dmitri', 'Varga', 'Buyer'),
    (1018, 18, 'Hamid', 'Nakata', 'Data Engineer'),
    (1019, 19, 'Ivan', 'Rossi', 'Operations Analyst'),
    (1020, 20, 'Quentin', 'Dragan', 'Director of Operations'),
    (1021, 21, 'Omar', 'Rossi', 'VP Engineering'),
    (1022, 22, 'Julia', 'Fontaine', 'Product Manager'),
    (1023, 23, 'Tariq', 'Meyer', 'Product Manager'),
    (1024, 24, 'Marek', 'Rahman', 'Head of Marketing'),
    (1025, 25, 'Emeka', 'Dragan', 'Director of Operations'),
    (1026, 26, 'Emeka', 'Keller', 'Head of Marketing'),
    (1027, 27, 'Ada', 'Varga', 'VP Sales'),
    (1028, 28, 'Felix', 'Marsh', 'Head of Procurement'),
    (1029, 29, 'Ada', 'Gallo', 'Product Manager'),
    (1030, 30, 'Sofia', 'Quist', 'Warehouse Manager'),
    (1031, 31, 'Tessa', 'Okafor', 'Data Engineer'),
    (1032, 32, 'Rosa', 'Bianchi', 'Purchasing Lead'),
    (1033, 1, 'Tariq', 'Rossi', 'Operations Analyst'),
    (1034, 2, 'Nadia', 'Rossi', 'Chief Technology Officer'),
    (1035, 3, 'Priya', 'Rossi', 'Buyer'),
    (1036, 4, 'Greta', 'Castell', 'Finance Manager'),
    (1037, 5, 'Omar', 'Hoang', 'Chief Technology Officer'),
    (1038, 6, 'Lucia', 'Bianchi', 'Chief Technology Officer'),
    (1039, 7, 'Sofia', 'Eklund', 'IT Manager'),
    (1040, 8, 'Wanda', 'Almeida', 'Chief Financial Officer'),
    (1041, 9, 'Hamid', 'Rahman', 'Data Engineer'),
    (1042, 10, 'Yara', 'Marsh', 'IT Manager'),
    (1043, 11, 'Viktor', 'Quist', 'Revenue Operations Manager'),
    (1044, 12, 'Dmitri', 'Farouk', 'Revenue Operations Manager'),
    (1045, 13, 'Petra', 'Ueda', 'Revenue Operations Manager'),
    (1046, 14, 'Lena', 'Dragan', 'Data Engineer'),
    (1047, 15, 'Dalia', 'Oyelaran', 'Head of People'),
    (1048, 16, 'Priya', 'Hoang', 'Sales Director'),
    (1049, 17, 'Amir', 'Kaya', 'Sales Director'),
    (1050, 18, 'Mei', 'Gallo', 'VP Engineering'),
    (1051, 19, 'Amir', 'Yilmaz', 'Head of Procurement'),
    (1052, 20, 'Zeno', 'Dragan', 'Head of People'),
    (1053, 21, 'Samir', 'Quist', 'Director of Operations'),
    (1054, 22, 'Marek', 'Keller', 'VP Engineering'),
    (1055, 23, 'Sofia', 'Weber', 'Head of Sales'),
    (1056, 24, 'Yara', 'Keller', 'Warehouse Manager'),
    (1057, 25, 'Greta', 'Lindqvist', 'Operations Analyst'),
    (1058, 26, 'Ines', 'Jansen', 'Sales Director'),
    (1059, 27, 'Quentin', 'Pereira', 'Account Manager'),
    (1060, 28, 'Amir', 'Meyer', 'Revenue Operations Manager'),
    (1061, 29, 'Jonas', 'Jansen', 'Warehouse Manager'),
    (1062, 30, 'Marek', 'Tanaka', 'IT Manager'),
    (1063, 31, 'Mei', 'Dragan', 'Head of Marketing'),
    (1064, 32, 'Dalia', 'Keller', 'Revenue Operations Manager'),
    (1065, 1, 'Greta', 'Oyelaran', 'Finance Manager'),
    (1066, 2, 'Priya', 'Abara', 'Revenue Operations Manager'),
    (1067, 3, 'Zeno', 'Pereira', 'Chief Financial Officer'),
    (1068, 4, 'Dmitri', 'Rahman', 'Finance Manager'),
    (1069, 5, 'Priya', 'Ibarra', 'Product Manager'),
    (1070, 6, 'Yara', 'Oyelaran', 'Chief Financial Officer'),
    (1071, 7, 'Nadia', 'Thorne', 'Operations Analyst'),
    (1072, 8, 'Chidi', 'Hoang', 'Director of Operations'),
    (1073, 9, 'Elif', 'Almeida', 'Data Engineer'),
    (1074, 10, 'Uma', 'Thorne', 'Data Engineer'),
    (1075, 11, 'Wanda', 'Ueda', 'IT Manager'),
    (1076, 12, 'Emeka', 'Zielinski', 'VP Engineering'),
    (1077, 13, 'Ada', 'Eklund', 'Sales Director'),
    (1078, 14, 'Elif', 'Sato', 'Finance Manager'),
    (1079, 15, 'Hamid', 'Almeida', 'Head of People'),
    (1080, 16, 'Rosa', 'Lindqvist', 'VP Sales'),
    (1081, 17, 'Leo', 'Marsh', 'VP Engineering'),
    (1082, 18, 'Niall', 'Fontaine', 'Buyer'),
    (1083, 19, 'Marek', 'Thorne', 'VP Sales'),
    (1084, 20, 'Samir', 'Sandoval', 'Sales Director'),
    (1085, 21, 'Elif', 'Zhou', 'Data Engineer'),
    (1086, 22, 'Samir', 'Weber', 'Account Manager'),
    (1087, 23, 'Omar', 'Ibarra', 'Warehouse Manager'),
    (1088, 24, 'Felix', 'Gallo', 'Revenue Operations Manager'),
    (1089, 25, 'Wanda', 'Farouk', 'VP Engineering'),
    (1090, 26, 'Bruno', 'Okafor', 'Sales Director'),
    (1091, 27, 'Samir', 'Zielinski', 'Revenue Operations Manager'),
    (1092, 28, 'Dalia', 'Zielinski', 'Buyer'),
    (1093, 29, 'Ivan', 'Jansen', 'Head of People'),
    (1094, 30, 'Anika', 'Eklund', 'Sales Director'),
    (1095, 31, 'Omar', 'Zielinski', 'Account Manager'),
    (1096, 32, 'Carla', 'Tanaka', 'Head of Sales'),
    (1097, 1, 'Wanda', 'Weber', 'Warehouse Manager'),
    (1098, 2, 'Rosa', 'Jansen', 'Head of People'),
    (1099, 3, 'Omar', 'Weber', 'VP Engineering'),
    (1100, 4, 'Priya', 'Weber', 'Head of Marketing'),
    (1101, 5, 'Samir', 'Marsh', 'VP Engineering'),
    (1102, 6, 'Greta', 'Tanaka', 'Data Engineer')
  AS v (id, account_id, first_name, last_name, job_title)
)
SELECT
  person.id,
  LOWER(first_name) || '.' || LOWER(last_name) || '@' || accounts.domain,
  NULL,
  first_name,
  last_name,
  job_title,
  accounts.name,
  accounts.domain,
  person.account_id,
  '+1 555 010 ' || TO_VARCHAR(1000 + person.id),
  IFF(MOD(person.id, 3) = 0, '+44 7700 90' || TO_VARCHAR(person.id), NULL),
  SPLIT_PART(accounts.locality, ', ', 1),
  SPLIT_PART(accounts.locality, ', ', 2),
  IFF(MOD(person.id, 2) = 0, ARRAY_CONSTRUCT('newsletter'), ARRAY_CONSTRUCT('webinar', 'trial')),
  'segment ' || TO_VARCHAR(MOD(person.id, 5)),
  MOD(person.id * 37, 100) / 4,
  TO_VARCHAR(MOD(person.id * 53, 900)),
  MOD(person.id, 25) = 0,
  DATEADD(hour, person.id, '2025-01-01 08:30:00'::TIMESTAMP_NTZ),
  DATE_FROM_PARTS(1990 + MOD(person.id, 30), 6, 30),
  '2024-03-01',
  OBJECT_CONSTRUCT('system', 'crm', 'row', person.id),
  MD5(last_name),
  '2026-01-05 03:00:00'::TIMESTAMP_NTZ
FROM person
JOIN accounts ON accounts.id = person.account_id
ORDER BY person.id;

INSERT INTO prospects (id, email, first_name, last_name, job_title) VALUES
    -- Person 1001 once more, louder and promoted: folded into one write, the later title wins.
    (9001, ' MEI.NOVAK@ACORN-OPTICS.EXAMPLE ', 'Mei', 'Novak', 'VP Marketing'),
    -- Two people behind one shared address: Outreach holds one prospect an address, so one prospect, the later name.
    (9002, 'front.desk@juniper-gate.example', 'Otto', 'Brandt', 'Receptionist'),
    (9003, 'Front.Desk@juniper-gate.example', 'Ilse', 'Brandt', 'Receptionist'),
    -- Blank strings: nothing to write there, so created with an address only.
    (9004, 'blank.fields@clover-ledger.example', '', '   ', ''),
    -- Nulls: created with an address only.
    (9005, 'only.address@copper-finch.example', NULL, NULL, NULL),
    -- Several addresses in one text, one of them twice: created with three.
    (9006, 'r.vance@oat-anvil.example; roy@oat-anvil.example;R.Vance@oat-anvil.example, roy@home.test', 'Roy', 'Vance', 'Brewer'),
    -- Letters beyond ASCII: created.
    (9008, 'zoe.dang+news@night-heron.example', 'Zoë', 'Đặng-Østergård', 'Größte Datenfrau 🦉'),
    -- A name of 300 characters, 255 are allowed: rejected.
    (9011, 'tilly.moss@blue-harbor.example', 'Tilly', REPEAT('Moss', 75), 'Dispatcher'),
    -- No address at all: rejected, a prospect cannot be found again without one.
    (9012, '', 'Walt', 'Inman', 'Visitor'),
    -- An address that is none: rejected.
    (9013, 'maria.lopez(at)quarry-hill.example', 'Maria', 'Lopez', 'Foreman'),
    -- One good address and one that is none: rejected as a whole, so that somebody looks at it.
    (9014, 'nell.swift@velvet-otter.example; nell.swift', 'Nell', 'Swift', 'Illustrator'),
    -- Outreach itself refuses addresses of its own domain: rejected, in its words.
    (9017, 'somebody@outreach.io', 'Some', 'Body', 'Nobody');

-- Addresses in an array beside the text: created with three, EMAIL first.
INSERT INTO prospects (id, email, emails, first_name, last_name)
SELECT 9007, 'sol.arden@paper-lantern.example', ARRAY_CONSTRUCT('sol@paper-lantern.example', 'sol@home.test'), 'Sol', 'Arden';

-- Phones as people type them: created, the phone as it stands.
INSERT INTO prospects (id, email, first_name, last_name, phone) VALUES
    (9009, 'odd.phone@red-kite.example', 'Owen', 'Pryce', '(029) 2018-0123 ext. 7'),
    (9010, 'dotted.phone@red-kite.example', 'Nia', 'Pryce', '0044.29.2018.0456');

INSERT INTO prospects (id, email, first_name, last_name, linkedin_connections, job_start_date) VALUES
    -- "many" is no number: rejected.
    (9015, 'pete.lark@tin-whistle.example', 'Pete', 'Lark', 'many', '2023-09-01'),
    -- The second of January or the first of February? Rejected, nothing is guessed.
    (9016, 'joan.reed@saltmarsh-pharma.example', 'Joan', 'Reed', '512', '01/02/2024');

INSERT INTO prospects (id, email, first_name, last_name, company_name, opted_out) VALUES
    -- Somebody who wants no more mail: created as opted out; a later FALSE here would not undo that.
    (9018, 'quiet.please@fable-quill.example', 'Greta', 'Holm', 'Fable and Quill Press', TRUE);
