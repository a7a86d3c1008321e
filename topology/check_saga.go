package topology

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// maxSagaJSON bounds how deep the JSON of an action may be.
const maxSagaJSON = 32

// sagas checks that what they name exists, and that they refer to what is known by then.
func (c *checker) sagas() {
	for _, name := range sortedKeys(c.sys.Sagas) {
		v := c.sys.Sagas[name]
		c.sagaTrigger(v.On, c.spots[v].child("on"))
		known, pivot := []string{}, ""
		for _, step := range v.Steps {
			s := c.spots[step]
			pivot = c.sagaPivot(step, s, pivot)
			if slices.Contains(known, step.Name) {
				c.at(s.child("name"), Problem{Found: quoteFound(step.Name), Message: fmt.Sprintf("two steps of the saga %s have this name", name)})
			}
			if step.Name == "undo" {
				c.at(s.child("name"), Problem{Found: quoteFound(step.Name), Message: "the name stands for compensations in their keys", Expected: "another name"})
			}
			c.sagaStep(step, s, known)
			known = append(known, step.Name)
		}
	}
}

// sagaPivot checks what stands after the point of no return, and returns which step that is by now.
func (c *checker) sagaPivot(step *SagaStep, s spot, pivot string) string {
	switch {
	case pivot == "":
		if step.Pivot {
			return step.Name
		}
	case step.Pivot:
		c.at(s.child("pivot"), Problem{Message: fmt.Sprintf("the step %s is the pivot already", pivot), Expected: "one pivot"})
	case step.Compensate != nil:
		c.at(s.child("compensate"), Problem{Message: fmt.Sprintf("nothing is undone after the pivot %s", pivot), Expected: "a step before it, or no compensate"})
	case step.Wait != nil && step.Wait.Timeout > 0:
		c.at(s.child("wait").child("timeout"), Problem{Message: fmt.Sprintf("after the pivot %s it is waited as long as it takes", pivot), Expected: "no timeout"})
	}
	return pivot
}

func (c *checker) sagaTrigger(on SagaTrigger, s spot) {
	if on.Queue != "" && on.Topic != "" {
		c.at(s, Problem{Found: "queue and topic", Expected: "one of them"})
	}
	c.sagaChannel("queues", on.Queue, s.child("queue"))
	c.sagaChannel("topics", on.Topic, s.child("topic"))
}

// sagaChannel checks that a queue or topic exists and that it is the bus of this system that has it.
func (c *checker) sagaChannel(kind, name string, s spot) {
	if name == "" {
		return
	}
	engine, names := "", sortedKeys(c.sys.Queues)
	if kind == "topics" {
		names = sortedKeys(c.sys.Topics)
	}
	switch {
	case !c.exists(kind, name):
		c.unknown(s, strings.TrimSuffix(kind, "s"), name, func() []string { return names })
		return
	case kind == "queues":
		engine = c.sys.Queues[name].Engine
	default:
		engine = c.sys.Topics[name].Engine
	}
	if engine != "embedded" && engine != "" {
		c.at(s, Problem{Found: quoteFound(name), Message: "it is served by " + engine + ", and sagas know the embedded engine only"})
	}
}

func (c *checker) sagaStep(step *SagaStep, s spot, known []string) {
	if step.Wait == nil {
		c.sagaAction(&step.SagaAction, s, known)
	} else {
		for _, key := range []string{"call", "send", "method", "path", "headers", "json", "accept", "key", "timeout", "retry"} {
			if s.child(key).node != nil {
				c.at(s.child(key), Problem{Message: "the step waits, and does nothing else", Expected: "a step of its own"})
			}
		}
		c.sagaWait(step.Wait, s.child("wait"), known)
		if step.Compensate != nil {
			c.at(s.child("compensate"), Problem{Message: "there is nothing to undo of a wait"})
		}
		return
	}
	if step.Compensate != nil {
		// What a compensation refers to must be known even where the step's own answer was lost.
		c.sagaAction(step.Compensate, s.child("compensate"), known)
	}
}

func (c *checker) sagaWait(w *SagaWait, s spot, known []string) {
	switch {
	case s.node == nil || s.node.kind != mapKind:
	case (w.Signal == "") == (w.Topic == ""):
		c.at(s, Problem{Message: "it is not said what is waited for", Expected: "either signal or topic"})
	case w.Topic != "" && w.Key == "":
		c.at(s, Problem{Message: "it is not said which event of the topic is waited for", Expected: "key: the event's key, such as ${id}"})
	case w.Topic == "" && w.Key != "":
		c.at(s.child("key"), Problem{Message: "a signal has no key"})
	}
	c.sagaChannel("topics", w.Topic, s.child("topic"))
	c.sagaText(w.Key, s.child("key"), known)
}

func (c *checker) sagaAction(a *SagaAction, s spot, known []string) {
	if s.node == nil || s.node.kind != mapKind {
		return
	}
	switch {
	case a.Call == "" && a.Send == "":
		c.at(s, Problem{Message: "it is not said what is done", Expected: "call: SERVICE, send: queues.NAME or topics.NAME, or wait"})
	case a.Call != "" && a.Send != "":
		c.at(s.child("send"), Problem{Found: quoteFound(a.Send), Message: "call is given as well", Expected: "one of them"})
	case a.Call != "":
		if c.sys.Services[a.Call] == nil {
			c.unknown(s.child("call"), "service", a.Call, c.sys.SortedServices)
		}
		c.only(s, "is about messages", "key")
	default:
		c.only(s, "is about calls", "method", "path", "accept")
		kind, name := ServiceOf(a.Send)
		if kind != "queues" && kind != "topics" {
			c.at(s.child("send"), Problem{Found: quoteFound(a.Send), Expected: "queues.NAME or topics.NAME"})
		} else {
			c.sagaChannel(kind, name, s.child("send"))
		}
	}
	for _, status := range a.Accept {
		if status == 408 || status == 425 || status == 429 {
			c.at(s.child("accept"), Problem{Found: fmt.Sprint(status), Message: "it asks to come again later, so it can't mean that it is done"})
		}
	}
	if r := a.Retry; r != nil && r.First > r.Max {
		c.at(s.child("retry").child("first"), Problem{Found: r.First.String(), Message: fmt.Sprintf("first is more than max (%v)", r.Max)})
	}
	c.sagaText(a.Path, s.child("path"), known)
	c.sagaText(a.Key, s.child("key"), known)
	for _, name := range sortedKeys(a.Headers) {
		at := s.child("headers").child(name)
		if canonical := textproto.CanonicalMIMEHeaderKey(name); !isToken(name) || slices.Contains(sagaOwnHeaders, canonical) {
			c.at(at, Problem{Found: quoteFound(name), Expected: "a header's name that is not one of " + strings.Join(sagaOwnHeaders, ", ")})
		}
		if strings.ContainsAny(a.Headers[name], "\r\n") {
			c.at(at, Problem{Found: quoteFound(a.Headers[name]), Expected: "one line"})
		}
		c.sagaText(a.Headers[name], at, known)
	}
	c.sagaJSON(a.JSON, s.child("json"), known, 0)
}

// sagaOwnHeaders are set by the engine or by HTTP itself.
var sagaOwnHeaders = []string{"Idempotency-Key", "Content-Length", "Transfer-Encoding", "Connection", "Host", "Banyan-Saga", "Banyan-Step", "Banyan-Attempt"}

func (c *checker) only(s spot, why string, keys ...string) {
	for _, key := range keys {
		if s.child(key).node != nil {
			c.at(s.child(key), Problem{Message: why})
		}
	}
}

func (c *checker) sagaJSON(v any, s spot, known []string, depth int) {
	if depth > maxSagaJSON {
		c.at(s, Problem{Message: "is nested too deep", Expected: fmt.Sprintf("at most %d levels", maxSagaJSON)})
		return
	}
	switch v := v.(type) {
	case string:
		c.sagaText(v, s, known)
	case []any:
		for i := range v {
			c.sagaJSON(v[i], s.item(i), known, depth+1)
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			c.sagaJSON(v[key], s.child(key), known, depth+1)
		}
	}
}

// sagaText checks the references of a text.
func (c *checker) sagaText(text string, s spot, known []string) {
	parts, err := ParseSagaText(text)
	if err != nil {
		c.at(s, Problem{Message: err.Error()})
		return
	}
	for _, p := range parts {
		if p.Reference == nil || p.Reference.Root != "steps" || slices.Contains(known, p.Reference.Step) {
			continue
		}
		c.at(s, Problem{Found: quoteFound("${" + p.Reference.String() + "}"), Message: "no earlier step has this name",
			Hint: c.problems.didYouMean(p.Reference.Step, func() []string { return known }), Expected: "the answer of a step before this one"})
	}
}
