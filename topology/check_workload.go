package topology

import (
	"fmt"
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
	for _, name := range sortedKeys(w.Scenarios) {
		c.scenario(w.Scenarios[name])
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
			c.unknown(at, "route or step", t.Step, func() []string { return sortedKeys(steps) })
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
		}
	}
	return names
}

func (c *checker) scenario(v *Scenario) {
	extracted := map[string]bool{}
	for _, step := range v.Steps {
		s := c.spots[step]
		if s.node == nil || s.node.kind != mapKind {
			continue
		}
		c.variables(step, s, extracted)
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
			extracted[name] = true
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

// placeholder is a variable in a step's texts.
var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// variables checks that every ${name} has a value when the step runs.
func (c *checker) variables(step *Step, s spot, extracted map[string]bool) {
	look := func(place func() spot, text string) {
		for _, m := range placeholder.FindAllStringSubmatch(text, 100) {
			if problem, ok := checkVariable(m[1], extracted); !ok {
				if problem.Hint == "" {
					problem.Hint = c.problems.didYouMean(m[1], func() []string {
						return append(sortedKeys(extracted), "user", "iteration", "uuid")
					})
				}
				c.at(place(), problem)
			}
		}
	}
	look(func() spot { return s.child("path") }, step.Path)
	look(func() spot { return s.child("body") }, step.Body)
	for _, k := range sortedKeys(step.Headers) {
		look(func() spot { return s.child("headers").child(k) }, step.Headers[k])
	}
	for _, k := range sortedKeys(step.Form) {
		look(func() spot { return s.child("form").child(k) }, step.Form[k])
	}
	var free func(at spot, n *node)
	free = func(at spot, n *node) {
		switch {
		case n == nil:
		case n.kind == stringKind:
			look(func() spot { return at }, n.text)
		case n.kind == listKind:
			for i, item := range n.items {
				free(spot{item, item.at, at.path.item(i)}, item)
			}
		case n.kind == mapKind:
			for _, e := range n.entries {
				free(spot{e.value, e.value.at, at.path.child(e.key)}, e.value)
			}
		}
	}
	free(s.child("json"), s.child("json").node)
}

// checkVariable checks what stands between the braces of ${...}.
func checkVariable(name string, extracted map[string]bool) (Problem, bool) {
	found := quoteFound("${" + name + "}")
	call, arguments, isCall := strings.Cut(name, ":")
	switch {
	case !isCall && (extracted[name] || slices.Contains([]string{"user", "iteration", "uuid"}, name)):
		return Problem{}, true
	case isCall && call == "pick":
		return Problem{Found: found, Expected: "${pick:a,b,c}"}, arguments != ""
	case isCall && (call == "random" || call == "zipf"):
		var low, high int64
		var rest string
		n, _ := fmt.Sscanf(arguments+" ", "%d:%d%s", &low, &high, &rest)
		return Problem{Found: found, Expected: "${" + call + ":LOW:HIGH} with whole numbers, LOW not above HIGH"},
			n == 2 && low <= high
	}
	return Problem{Found: found, Message: "no earlier step extracts it, and it is none of Banyan's own variables"}, false
}
