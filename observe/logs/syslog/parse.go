package syslog

import (
	"strconv"
	"strings"
	"time"
)

// Message is a syslog message. What it does not say is "".
type Message struct {
	Facility, Severity int
	Time               time.Time // zero: it says none
	Host, App          string
	Process, ID        string
	// Data has the structured data of RFC 5424, as id.name.
	Data []Pair
	Text string
}

// Pair of structured data.
type Pair struct{ Name, Value string }

// Severities of RFC 5424, section 6.2.1, as levels.
var severities = []string{"fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug"}

// Facilities by number, with the names that are usual for them.
var facilities = []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

const (
	defaultPriority = 13 // user.notice, as RFC 3164, section 4.3.3 has it for messages without one
	maxPairs        = 64
)

// Parse reads a message of RFC 5424, or of RFC 3164 as far as it goes: of what follows no rule the whole is the text. now gives
// the year and, to instants without one, the time zone.
func Parse(s string, now time.Time) Message {
	m := Message{Facility: defaultPriority / 8, Severity: defaultPriority % 8}
	rest := s
	if pri, after, ok := priority(s); ok {
		m.Facility, m.Severity, rest = pri/8, pri%8, after
	}
	if after, ok := strings.CutPrefix(rest, "1 "); ok && len(rest) < len(s) {
		if n, ok := rfc5424(m, after); ok {
			return n
		}
	}
	return rfc3164(m, rest, now)
}

// priority reads <165>.
func priority(s string) (pri int, rest string, ok bool) {
	end := strings.IndexByte(s[:min(len(s), 5)], '>')
	if end < 2 || s[0] != '<' {
		return 0, s, false
	}
	n, err := strconv.ParseUint(s[1:end], 10, 8)
	if err != nil || n > 191 {
		return 0, s, false
	}
	return int(n), s[end+1:], true
}

// rfc5424 reads what follows the version: TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG].
func rfc5424(m Message, s string) (Message, bool) {
	var head [5]string
	for i := range head {
		var ok bool
		if head[i], s, ok = strings.Cut(s, " "); !ok || head[i] == "" || len(head[i]) > 255 {
			return m, false
		}
		if head[i] == "-" {
			head[i] = ""
		}
	}
	if head[0] != "" {
		at, err := time.Parse(time.RFC3339Nano, head[0])
		if err != nil {
			return m, false
		}
		m.Time = at
	}
	m.Host, m.App, m.Process, m.ID = head[1], head[2], head[3], head[4]
	var ok bool
	if m.Data, s, ok = structured(s); !ok || s != "" && s[0] != ' ' {
		return m, false
	}
	m.Text = strings.TrimPrefix(strings.TrimPrefix(s, " "), "\ufeff")
	return m, true
}

// structured reads - or [id name="value" ...][...].
func structured(s string) (pairs []Pair, rest string, ok bool) {
	if after, ok := strings.CutPrefix(s, "-"); ok {
		return nil, after, true
	}
	if !strings.HasPrefix(s, "[") {
		return nil, s, false
	}
	for strings.HasPrefix(s, "[") {
		n := strings.IndexAny(s, " ]")
		if n < 2 {
			return nil, s, false
		}
		id := s[1:n]
		s = s[n:]
		for strings.HasPrefix(s, " ") {
			name, after, found := strings.Cut(s[1:], `="`)
			if !found || name == "" || strings.ContainsAny(name, ` "]`) {
				return nil, s, false
			}
			value, after, closed := quotedValue(after)
			if !closed {
				return nil, s, false
			}
			if len(pairs) < maxPairs {
				pairs = append(pairs, Pair{id + "." + name, value})
			}
			s = after
		}
		if s, ok = strings.CutPrefix(s, "]"); !ok {
			return nil, s, false
		}
	}
	return pairs, s, true
}

// quotedValue reads up to the quote that ends a value, in which a backslash stands before ", \ and ].
func quotedValue(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`"\]`, s[i+1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return "", s, false
}

// rfc3164 reads what follows the priority: Nov 29 18:00:00 host app[pid]: text. Hosts and instants may be missing, and often are.
func rfc3164(m Message, s string, now time.Time) Message {
	const stamp = "Jan _2 15:04:05"
	m.Text = s
	if len(s) > len(stamp) && s[len(stamp)] == ' ' {
		if at, err := time.ParseInLocation(stamp, s[:len(stamp)], now.Location()); err == nil {
			// The year is the one that brings it nearest to now.
			at = at.AddDate(now.Year(), 0, 0)
			if d := at.Sub(now); d > 180*24*time.Hour {
				at = at.AddDate(-1, 0, 0)
			} else if d < -180*24*time.Hour {
				at = at.AddDate(1, 0, 0)
			}
			m.Time, m.Text = at, s[len(stamp)+1:]
		}
	} else if first, after, ok := strings.Cut(s, " "); ok && len(first) < 40 {
		if at, err := time.Parse(time.RFC3339Nano, first); err == nil {
			m.Time, m.Text = at, after
		}
	}
	if !m.Time.IsZero() {
		host, after, ok := strings.Cut(m.Text, " ")
		if ok && host != "" && !strings.HasSuffix(host, ":") && !strings.ContainsAny(host, "[]") && len(host) <= 255 {
			m.Host, m.Text = host, after
		}
	}
	tag, text, ok := strings.Cut(m.Text, ":")
	if ok && tag != "" && len(tag) <= 80 && !strings.ContainsAny(tag, " \t") {
		app, pid, has := strings.Cut(tag, "[")
		if has && strings.HasSuffix(pid, "]") {
			m.Process = strings.TrimSuffix(pid, "]")
		} else {
			app = tag
		}
		m.App, m.Text = app, strings.TrimPrefix(text, " ")
	}
	return m
}
