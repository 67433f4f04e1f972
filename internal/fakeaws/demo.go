package fakeaws

import (
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// DemoAccount is the id of the one account of Demo.
const DemoAccount = "111122223333"

// Demo is an invented company with every kind of trouble that the rules know, and users without any. All
// its dates are counted back from asOf, at which its clock stands, so that its verdicts never change.
// Root has a key: root-access-key fails, and nobody is there to pass it.
func Demo(asOf time.Time) *Cloud {
	c := New(asOf.Truncate(time.Second))
	a := c.AddAccount(fact.Account{ID: DemoAccount, Name: "tidewater-prod"})
	s := stage{now: c.now}
	a.rootCreated = s.ago(2900, 4*time.Hour)
	a.SetRootKeys(Key{Created: s.ago(2899, 2*time.Hour), LastUsed: s.ago(1310, 0), Service: "ec2", Region: "us-east-1"})
	for _, group := range [][]User{s.setupKeys(), s.people(), s.leftovers(), s.services(), s.vendors()} {
		for _, u := range group {
			if err := a.AddUser(u); err != nil {
				panic("the demo names a user twice: " + err.Error()) // caught by any test
			}
		}
	}
	return c
}

// stage counts back from the moment of the demo.
type stage struct{ now time.Time }

// ago is that many days and some time before now.
func (s stage) ago(days int, more time.Duration) time.Time {
	return s.now.Add(-time.Duration(days)*24*time.Hour - more)
}

// person is a user with a console password, last used two days ago.
func (s stage) person(name, team string, days int, keys ...Key) User {
	return User{
		Name: name, Path: "/people/" + team + "/", Created: s.ago(days, 3*time.Hour),
		Password: true, PasswordLastUsed: s.ago(2, 5*time.Hour), MFA: true,
		Tags: map[string]string{"team": team, "owner": name + "@tidewater.example"}, Keys: keys,
	}
}

// service is a user without a password.
func (s stage) service(name, path, team string, days int, keys ...Key) User {
	return User{
		Name: name, Path: path, Created: s.ago(days, 3*time.Hour),
		Tags: map[string]string{"team": team, "owner": team + "@tidewater.example"}, Keys: keys,
	}
}

// key is an active key of that age, last used so long ago.
func (s stage) key(days int, used time.Duration, service, region string) Key {
	return Key{Created: s.ago(days, 0), LastUsed: s.ago(0, used), Service: service, Region: region}
}

// fresh is an active key of that age that nobody has used.
func (s stage) fresh(age time.Duration) Key { return Key{Created: s.ago(0, age)} }

// idle is an inactive key.
func (s stage) idle(days int) Key { return Key{Created: s.ago(days, 0), Inactive: true} }

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// setupKeys are people whose key came with the user, and one whose key came a second too late for that.
func (s stage) setupKeys() []User {
	born := func(u User, after time.Duration, used time.Duration) User {
		k := Key{Created: u.Created.Add(after)}
		if used > 0 {
			k.LastUsed, k.Service, k.Region = s.ago(0, used), "s3", ""
		}
		u.Keys = []Key{k}
		return u
	}
	return []User{
		born(s.person("ben.lindqvist", "platform", 400), 2*time.Second, 3*hour),
		born(s.person("carla.mendes", "finance", 210), time.Second, 0),
		born(s.person("elena.rossi", "data", 25), time.Minute, 26*hour),            // the last second of the window
		born(s.person("dmitri.volkov", "data", 20), time.Minute+time.Second, hour), // the first one outside
	}
}

func (s stage) people() []User {
	pending := s.person("viktor.hansen", "sales", 12)
	pending.PasswordLastUsed, pending.MFA = time.Time{}, false
	return []User{
		s.person("amara.okafor", "finance", 730),
		s.person("farid.haddad", "platform", 610, s.key(46, 20*hour, "ec2", "eu-west-1")),
		s.person("grace.kim", "platform", 540, s.key(31, 2*hour, "dynamodb", "eu-west-1")),
		s.person("hugo.martin", "data", 820, s.key(91, 2*day, "athena", "eu-central-1")),
		s.person("ines.carvalho", "sales", 900, s.key(400, 120*day, "s3", "")),
		s.service("jonas.weber", "/people/platform/", "platform", 300, s.key(90, 4*hour, "sts", "us-east-1")), // exactly 90 days
		s.service("kavya.rao", "/people/data/", "data", 310, // a second more than 90 days
			Key{Created: s.ago(90, time.Second), LastUsed: s.ago(0, 5*hour), Service: "glue", Region: "eu-west-1"}),
		s.person("liam.obrien", "sales", 410, s.key(80, 45*day, "s3", "")),               // unused for exactly 45 days
		s.person("mei.tanaka", "data", 420, s.key(80, 45*day-time.Second, "kms", "")),    // a second less
		s.person("noor.elsayed", "finance", 430, s.key(100, 90*day, "ses", "us-east-1")), // unused for exactly 90 days
		s.person("tara.nguyen", "platform", 65, s.fresh(7*day-hour)),                     // never used, still in the week of grace
		s.service("uwe.schneider", "/people/sales/", "sales", 95),
		pending,
	}
}

// leftovers are second keys, inactive keys and keys that nobody ever used.
func (s stage) leftovers() []User {
	return []User{
		s.person("oscar.nilsson", "platform", 350, // which to keep is clear
			s.key(200, 70*day, "ec2", "eu-west-1"), s.key(12, hour, "ec2", "eu-west-1")),
		s.service("priya.shah", "/people/data/", "data", 360, // both in use: somebody has to be asked
			s.key(60, 2*hour, "s3", ""), s.key(75, 3*hour, "athena", "eu-west-1")),
		s.person("quentin.dupont", "finance", 370, s.key(15, 6*hour, "s3", ""), s.idle(150)),
		s.person("rosa.jimenez", "sales", 600, s.idle(300)),
		s.service("samir.patel", "/people/platform/", "platform", 50, s.fresh(8*day)),
		s.service("poc-2019", "/service/", "data", 2400, s.idle(1500), s.idle(1490)),
		s.service("spare-printer", "/service/", "sales", 130, s.idle(89)),
	}
}

func (s stage) services() []User {
	exposed := s.service("route-planner-poc", "/service/", "data", 150, s.key(140, 2*day, "ec2", "sa-east-1"))
	exposed.Quarantine = []string{"AWSCompromisedKeyQuarantineV2"}
	return []User{
		s.service("backup-agent", "/service/storage/", "platform", 1100,
			s.key(17, 30*time.Minute, "s3", ""), s.key(1000, 2*hour, "kms", "eu-west-1")),
		s.service("billing-export", "/service/", "finance", 480, s.key(5, 7*hour, "s3", "")),
		s.service("ci-deploy", "/ci/", "platform", 800, s.key(20, 20*time.Minute, "ecr", "eu-west-1")),
		s.service("ci-mobile", "/ci/", "platform", 500, s.key(35, 9*hour, "cloudfront", "us-east-1")),
		s.service("dr-drill", "/service/storage/", "platform", 720, s.key(89, 44*day, "rds", "eu-central-1")), // due soon
		s.service("etl-nightly", "/service/data/", "data", 690, s.key(44, 10*hour, "glue", "eu-west-1")),
		s.service("image-resizer", "/service/", "sales", 205, s.key(10, hour, "lambda", "eu-west-1")),
		s.service("legacy-ftp", "/service/", "platform", 2500, s.key(2300, 500*day, "s3", "")),
		s.service("log-shipper", "/service/", "platform", 640, s.key(30, 15*time.Minute, "logs", "eu-west-1")), // exactly 30 days
		s.service("mailer", "/service/", "sales", 1400, s.key(700, hour, "ses", "us-east-1")),
		exposed,
	}
}

func (s stage) vendors() []User {
	return []User{
		s.service("vendor-northwind", "/vendor/", "finance", 380, s.key(365, 8*hour, "s3", "")),
		s.service("vendor-parcelpoint", "/vendor/", "sales", 61, s.fresh(60*day)),
	}
}
