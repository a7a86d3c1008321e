package topology

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

func (c *checker) workload(w *Workload) {
	s := c.spots[w]
	if s.node == nil || s.node.kind != mapKind {
		return
	}
	c.loadKind(w, s)
	var total Percent
	for _, name := range sortedKeys(w.Mix) {
		total += w.Mix[name]
		if w.Scenarios[name] == nil {
			c.unknown(s.child("mix").name(name), "scenario", name, func() []string { return sortedKeys(w.Scenarios) })
		}
	}
	if mix := s.child("mix"); mix.node != nil && len(w.Mix) > 0 && total == 0 {
		c.at(mix, Problem{Message: "all shares are 0", Expected: "one scenario at least with a share"})
	}
	for _, name := range sortedKeys(w.Feeders) {
		if slices.Contains(ownVariables, name) {
			c.at(s.child("feeders").name(name), Problem{Found: quoteFound(name), Message: "is a variable of Banyan's own", Expected: "another name"})
		}
		c.feeder(w.Feeders[name])
	}
	c.tags(w)
	for _, name := range sortedKeys(w.Scenarios) {
		c.scenario(w.Scenarios[name], w.Feeders)
	}
	steps := c.stepNames(w)
	for i, text := range w.Thresholds {
		at := s.child("thresholds").item(i)
		t, err := ParseThreshold(text)
		if err != nil {
			e := err.(*unitError)
			problem := Problem{Found: quoteFound(text), Message: e.reason, Expected: e.want}
			if e.hint != "" {
				problem.Hint = "did you mean " + e.hint + "?"
			}
			c.at(at, problem)
		} else if t.Step != "" && !steps[t.Step] {
			c.unknown(at, "route, step or tag", t.Step, func() []string { return sortedKeys(steps) })
		}
	}
}

// loadKind checks that there is exactly one kind of load.
func (c *checker) loadKind(w *Workload, s spot) {
	var given []string
	for _, key := range []string{"rate", "stages", "trace", "users"} {
		if s.child(key).node != nil {
			given = append(given, key)
		}
	}
	const want = "exactly one of rate, stages, trace and users"
	switch {
	case len(given) == 0:
		c.at(s, Problem{Message: "no load is given", Expected: want})
	case len(given) > 1:
		problem := Problem{Message: "several kinds of load are given: " + chainWords(given), Expected: want}
		if s.child(given[0]).at.file != s.child(given[1]).at.file {
			problem.Hint = fmt.Sprintf("an overlay takes the other away with '%s: null'", given[0])
		}
		c.at(s.name(given[1]), problem)
	default:
		kind := s.child(given[0])
		switch text := kind.node.text; {
		case given[0] == "rate" && w.Rate == 0 && strings.HasPrefix(text, "0"),
			given[0] == "users" && w.Users == 0 && text == "0":
			c.at(kind, Problem{Found: kind.node.describe(), Expected: "more than 0"})
		case given[0] == "stages":
			c.stages(w, kind)
		}
	}
}

func (c *checker) stages(w *Workload, s spot) {
	if len(w.Stages) == 0 {
		if s.node.kind == listKind {
			c.at(s, Problem{Found: "an empty list", Expected: "one stage at least, such as {rate: 100/s, duration: 1m}"})
		}
		return
	}
	if len(c.problems.list) > 0 {
		return // a rate of 0 may stand for one that could not be read
	}
	for i, stage := range w.Stages {
		c.shape(stage, s.item(i))
	}
	for _, stage := range w.Stages {
		if stage.Rate > 0 && stage.Duration > 0 {
			return
		}
	}
	c.at(s, Problem{Message: "no stage has a rate and a duration of more than 0"})
}

// stepNames returns the names that a threshold may give in braces.
func (c *checker) stepNames(w *Workload) map[string]bool {
	names := map[string]bool{}
	for _, r := range c.sys.Routes {
		names[r.Name] = true
	}
	for _, s := range w.Scenarios {
		for _, step := range s.Steps {
			names[step.Name] = true
			for _, tag := range step.Tags {
				names[tag] = true
			}
		}
	}
	return names
}

// scenario checks the steps in the order in which they run: setup and teardown know no feeder, for they run only once.
func (c *checker) scenario(v *Scenario, feeders map[string]*Feeder) {
	names := &stepNames{extracted: map[string]bool{}}
	c.steps(v.Setup, names)
	after := &stepNames{extracted: maps.Clone(names.extracted)}
	names.feeders = feeders
	c.steps(v.Steps, names)
	c.steps(v.Teardown, after)
}

func (c *checker) steps(steps []*Step, names *stepNames) {
	for _, step := range steps {
		s := c.spots[step]
		if s.node == nil || s.node.kind != mapKind {
			continue
		}
		c.variables(step, s, names)
		c.call(step, s)
		var bodies []string
		for _, key := range []string{"body", "form", "json"} {
			if s.child(key).node != nil {
				bodies = append(bodies, key)
			}
		}
		if len(bodies) > 1 {
			c.at(s.name(bodies[1]), Problem{Message: "the request has two bodies: " + chainWords(bodies),
				Expected: "one of body, form and json"})
		}
		for _, name := range sortedKeys(step.Extract) {
			c.extract(c.spots[step.Extract[name]], step.Extract[name])
			if names.feeders[name] != nil {
				c.at(s.child("extract").name(name), Problem{Found: quoteFound(name), Message: "a feeder has this name",
					Expected: "a name of its own"})
			}
			names.extracted[name] = true
		}
	}
}

func (c *checker) extract(s spot, v *Extract) {
	var given []string
	for _, key := range []string{"json", "header", "regex"} {
		if s.child(key).node != nil {
			given = append(given, key)
		}
	}
	if s.node == nil || s.node.kind != mapKind {
		return
	}
	if len(given) != 1 {
		problem := Problem{Expected: "exactly one of json, header and regex"}
		if problem.Found = chainWords(given); len(given) == 0 {
			problem.Found = "none"
		}
		c.at(s, problem)
	}
	if v.Regex == "" {
		return
	}
	re, err := regexp.Compile(v.Regex)
	switch {
	case err != nil:
		c.at(s.child("regex"), Problem{Found: quoteFound(v.Regex), Message: strings.TrimPrefix(err.Error(), "error parsing regexp: "),
			Expected: "a regular expression (RE2)"})
	case re.NumSubexp() == 0:
		c.at(s.child("regex"), Problem{Found: quoteFound(v.Regex), Expected: "a group, such as id=([0-9]+)"})
	}
}
