package synth

import (
	"slices"
	"strings"
)

// base is a name that users are made from: itself, and with a number.
type base struct {
	name    string
	path    string
	service bool
}

var (
	given = []string{
		"ada", "amir", "anouk", "bela", "carmen", "chidi", "dora", "edgar", "elif", "farah", "goran", "hana",
		"igor", "ines", "jonas", "kaito", "leila", "lucia", "malik", "mira", "nadia", "noor", "olga", "pablo",
		"quinn", "rosa", "samir", "tessa", "uma", "viktor", "wanda", "xenia", "yusuf", "zoe",
	}
	family = []string{
		"abara", "berg", "castillo", "dvorak", "eriksen", "fontana", "gupta", "haddad", "ivanova", "janssen",
		"kowalski", "lindqvist", "moreau", "nakamura", "okafor", "petrov", "quiroga", "rossi", "schmidt",
		"tanaka", "ueda", "vargas", "weber", "yilmaz", "zimmermann",
	}
	teams    = []string{"analytics", "billing", "checkout", "data", "identity", "media", "payments", "search"}
	services = []string{"backup", "deploy", "etl", "exporter", "mailer", "metrics", "scanner", "sync", "uploader", "worker"}

	// uses are a region and a service; N/A for a service that has no regions.
	uses = []string{
		",us-east-1,s3", ",N/A,s3", ",eu-west-1,ec2", ",eu-central-1,dynamodb", ",us-west-2,sqs", ",N/A,iam",
		",us-east-1,sts", ",ap-southeast-2,kms", ",eu-north-1,secretsmanager", ",us-east-2,ecr",
	}
)

// bases lists all names without numbers, sorted.
func bases() []base {
	var all []base
	for _, g := range given {
		for i, f := range family {
			path := "/"
			if i%3 == 0 {
				path = "/staff/"
			}
			all = append(all, base{name: g + "." + f, path: path})
		}
	}
	for _, t := range teams {
		for _, s := range services {
			for _, stage := range []string{"prod", "test"} {
				all = append(all, base{name: "svc-" + t + "-" + s + "-" + stage, path: "/service/" + t + "/", service: true})
			}
		}
	}
	for _, s := range services {
		all = append(all, base{name: "ci-" + s, path: "/ci/", service: true})
	}
	slices.SortFunc(all, func(a, b base) int { return strings.Compare(a.name, b.name) })
	return all
}

// base is what user n in the order of names is made from, and the number to add; 0 adds none. Users are
// spread evenly over the bases.
func (c *company) base(n int) (base, int) {
	total := len(c.names)
	i := n * total / c.o.Users
	first := (i*c.o.Users + total - 1) / total // the lowest n that has this i
	return c.names[i], n - first
}

// name writes the name of the user: ada.berg, ada.berg-000001, ... The hyphen sorts before all letters, so
// numbers stay between their base and the next.
func (c *company) name(b base, number int) {
	c.row = append(c.row, b.name...)
	if number == 0 {
		return
	}
	c.row = append(c.row, "-000000"...)
	for i := len(c.row) - 1; number > 0; i, number = i-1, number/10 {
		c.row[i] = byte('0' + number%10)
	}
}
