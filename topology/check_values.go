package topology

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// feeder checks that there is exactly one source of rows.
func (c *checker) feeder(v *Feeder) {
	s := c.spots[v]
	if s.node == nil || s.node.kind != mapKind {
		return
	}
	const want = "exactly one of file and from"
	switch {
	case v.File == "" && s.child("file").node != nil && s.child("file").node.kind == stringKind && s.child("file").node.text == "":
		c.at(s.child("file"), Problem{Found: "an empty text", Expected: "a path in the file system"})
	case s.child("file").node != nil && s.child("from").node != nil:
		c.at(s.name("from"), Problem{Message: "the feeder has two sources: file and from", Expected: want})
	case s.child("file").node == nil && s.child("from").node == nil:
		c.at(s, Problem{Message: "the feeder has no source", Expected: want})
	case s.child("to").node != nil && s.child("file").node != nil:
		c.at(s.name("to"), Problem{Message: "'to' ends a range of numbers, and the feeder has a file"})
	case v.From != nil && v.To != nil && *v.To < *v.From:
		c.at(s.child("to"), Problem{Found: s.child("to").node.describe(), Expected: fmt.Sprintf("%d or more, for it is the last", *v.From)})
	case v.From != nil && v.To == nil && (v.Order == "random" || v.Order == "zipf"):
		c.at(s, Problem{Message: fmt.Sprintf("a range without an end has no order %q", v.Order), Expected: "'to', or order sequence or once"})
	}
}

// LastNumber is the last number of a feeder's range: To, or the largest whole number that every reader of JSON keeps.
func (v *Feeder) LastNumber() int {
	if v.To != nil {
		return *v.To
	}
	return min(math.MaxInt, 1<<53-1)
}

// tags checks that steps which share a name in reports share their tags.
func (c *checker) tags(w *Workload) {
	first := map[string]*Step{}
	for _, name := range sortedKeys(w.Scenarios) {
		for _, step := range w.Scenarios[name].Steps {
			s := c.spots[step]
			for i, tag := range step.Tags {
				if !variablePattern.MatchString(tag) {
					c.at(s.child("tags").item(i), Problem{Found: quoteFound(tag), Expected: "a word of letters, digits, underscores and dashes"})
				} else if slices.Contains(step.Tags[:i], tag) {
					c.at(s.child("tags").item(i), Problem{Found: quoteFound(tag), Message: "is there already"})
				}
			}
			one := first[step.Name]
			if first[step.Name] = step; one != nil && !slices.Equal(one.Tags, step.Tags) {
				c.at(s, Problem{Message: fmt.Sprintf("the step %.80q has other tags elsewhere", step.Name),
					Expected: "the same tags, or a 'name' of its own"})
			}
		}
	}
}

// stepNames are the names that a step's texts may use besides Banyan's own.
type stepNames struct {
	extracted map[string]bool // by setup or an earlier step
	feeders   map[string]*Feeder
}

// all of them, for suggestions.
func (n *stepNames) all() []string {
	names := append(sortedKeys(n.extracted), ownVariables...)
	for _, name := range sortedKeys(n.feeders) {
		if n.feeders[name].File == "" {
			names = append(names, name)
		}
	}
	return names
}

// ownVariables are those that need no definition.
var ownVariables = []string{"user", "iteration", "seq", "uuid"}

// placeholder is a variable in a step's texts; after another '$' it is none, but the text itself.
var placeholder = regexp.MustCompile(`\$?\$\{([^}]*)\}`)

// variables checks that every ${name} has a value when the step runs.
func (c *checker) variables(step *Step, s spot, names *stepNames) {
	look := func(place func() spot, text string) {
		for _, m := range placeholder.FindAllStringSubmatch(text, 100) {
			if strings.HasPrefix(m[0], "$$") {
				continue
			}
			if problem, ok := checkVariable(m[1], names); !ok {
				if problem.Hint == "" {
					problem.Hint = c.problems.didYouMean(m[1], names.all)
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
	for i, text := range step.Redis {
		look(func() spot { return s.child("redis").item(i) }, text)
	}
	if v := step.WebSocket; v != nil {
		look(func() spot { return s.child("websocket") }, v.Path)
		look(func() spot { return s.child("websocket") }, v.Send)
	}
	if v := step.TCP; v != nil {
		look(func() spot { return s.child("tcp") }, v.Send)
	}
	if v := step.NATS; v != nil {
		look(func() spot { return s.child("nats") }, v.Subject)
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
func checkVariable(name string, names *stepNames) (Problem, bool) {
	found := quoteFound("${" + name + "}")
	call, arguments, isCall := strings.Cut(name, ":")
	feeder, column, hasColumn := strings.Cut(name, ".")
	switch {
	case !isCall && names.feeders[feeder] != nil:
		if names.feeders[feeder].File == "" {
			return Problem{Found: found, Expected: "${" + feeder + "}: the feeder counts, and has no columns"}, !hasColumn
		}
		return Problem{Found: found, Expected: "${" + feeder + ".COLUMN}: a column of the feeder's file"}, column != ""
	case !isCall && (names.extracted[name] || slices.Contains(ownVariables, name)):
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
