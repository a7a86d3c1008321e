package topology

import "fmt"

// maxSchedules bounds those of one queue.
const maxSchedules = 1000

// schedules checks that timetables can be read, and that the messages are told.
func (c *checker) schedules(q *Queue, s spot) {
	if s.node == nil || s.node.kind != mapKind {
		return
	}
	if len(q.Schedules) > maxSchedules {
		c.at(s, Problem{Message: "there are too many schedules", Expected: fmt.Sprintf("at most %d", maxSchedules)})
	}
	for _, name := range sortedKeys(q.Schedules) {
		v := q.Schedules[name]
		at := s.child(name)
		if v == nil || at.node == nil || at.node.kind != mapKind {
			continue
		}
		if _, err := parseZone(v.Zone); err != nil {
			c.at(at.child("zone"), Problem{Message: err.Error()})
		} else if _, err := ParseTimetable(v.Cron, v.Zone); err != nil && v.Cron != "" {
			c.at(at.child("cron"), Problem{Found: quoteFound(v.Cron), Message: err.Error(),
				Expected: "five fields of crontab such as '30 8 * * mon-fri', @daily, or '@every 10m'"})
		}
		if at.child("body").node != nil && at.child("json").node != nil {
			c.at(at.child("json"), Problem{Message: "body is given as well", Expected: "one of them"})
		}
		for _, header := range sortedKeys(v.Headers) {
			if !isToken(header) {
				c.at(at.child("headers").name(header), Problem{Found: quoteFound(header), Expected: "the name of a header"})
			}
		}
	}
}

// inbox checks that there is somebody to have one.
func (c *checker) inbox(window Duration, push map[string]string, s spot) {
	if window > 0 && len(push) == 0 {
		c.at(s, Problem{Found: window.String(), Message: "nothing is pushed, and only those who are pushed to have an inbox", Expected: "push"})
	}
}

// embeddedAlone checks that fields which the embedded engine alone goes by are of a block that it serves.
func (c *checker) embeddedAlone(block, engine, does string, s spot, fields ...string) {
	if engine == "embedded" || engine == "" {
		return
	}
	for _, key := range fields {
		if s.child(key).node != nil {
			c.at(s.child(key), Problem{Message: "the " + block + " is served by " + engine + ", and the embedded engine alone " + does})
		}
	}
}

// leaves is part of ofEngine: what the file must not say of a queue that another engine has.
func (q Queue) leaves(field string) bool {
	return field == "durability" && q.Engine != "embedded" && q.Engine != ""
}

// topicSource checks that a topic can consist of what it is said to.
func (c *checker) topicSource(v *Topic, s spot) {
	if v.From == nil || v.From.Table == "" {
		return
	}
	at := s.child("from").child("table")
	switch t := c.sys.Tables[v.From.Table]; {
	case t == nil:
		c.unknown(at, "table", v.From.Table, func() []string { return sortedKeys(c.sys.Tables) })
	case t.Engine != "embedded" && t.Engine != "":
		c.at(at, Problem{Found: quoteFound(v.From.Table), Message: "the table is served by " + t.Engine, Expected: "an embedded table"})
	case s.child("schema").node != nil:
		c.at(s.child("schema"), Problem{Message: "the events are changes of a table, whose form is that of DynamoDB Streams", Expected: "no schema"})
	}
}
