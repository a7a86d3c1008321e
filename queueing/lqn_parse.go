package queueing

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLQNBytes bounds an LQN file.
const maxLQNBytes = 1 << 20

// ParseLQN reads a model in the LQN file format (the text form of the LQN user
// manual, sections G, P, T, E and A), at most 1 MiB. Notes say where the format
// means something one might not expect. Not supported, and errors: variables,
// replication, loops in activity graphs, semaphore and read-write lock tasks.
func ParseLQN(r io.Reader) (m *LQN, notes []string, err error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxLQNBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("lqn: reading: %w", err)
	}
	if len(raw) > maxLQNBytes {
		return nil, nil, fmt.Errorf("lqn: more than %d bytes", maxLQNBytes)
	}
	p := &lqnParser{m: &LQN{}}
	if err := p.tokenise(string(raw)); err != nil {
		return nil, nil, fmt.Errorf("lqn: %w", err)
	}
	if err := p.file(); err != nil {
		line := 0
		if p.at > 0 && p.at <= len(p.tokens) {
			line = p.tokens[p.at-1].line
		}
		return nil, nil, fmt.Errorf("lqn: line %d: %w", line, err)
	}
	return p.m, p.notes, nil
}

type lqnToken struct {
	text string
	line int
}

type lqnParser struct {
	m      *LQN
	tokens []lqnToken
	at     int
	notes  []string
}

func (p *lqnParser) tokenise(text string) error {
	for n, line := range strings.Split(text, "\n") {
		if i := strings.IndexByte(line, '#'); i >= 0 {
			line = line[:i]
		}
		for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
			var word string
			switch {
			case line[0] == '"':
				end := strings.IndexByte(line[1:], '"')
				if end < 0 {
					return fmt.Errorf("line %d: a string without its end", n+1)
				}
				word, line = line[:end+2], line[end+2:]
			case strings.HasPrefix(line, "->"):
				word, line = "->", line[2:]
			case strings.IndexByte(":;&+,()[]*", line[0]) >= 0:
				word, line = line[:1], line[1:]
			default:
				end := 1
				for end < len(line) && strings.IndexByte(" \t\r:;&+,()[]*\"", line[end]) < 0 && !strings.HasPrefix(line[end:], "->") {
					// 1e+06 is one number
					end++
					if end < len(line) && line[end] == '+' && (line[end-1] == 'e' || line[end-1] == 'E') && line[0] >= '0' && line[0] <= '9' {
						end++
					}
				}
				word, line = line[:end], line[end:]
			}
			p.tokens = append(p.tokens, lqnToken{word, n + 1})
		}
	}
	return nil
}

func (p *lqnParser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at].text
	}
	return ""
}

func (p *lqnParser) next() string {
	t := p.peek()
	p.at++
	return t
}

func (p *lqnParser) number() (float64, error) {
	t := p.next()
	x, err := strconv.ParseFloat(t, 64)
	if err != nil || notFinite(x) {
		return 0, fmt.Errorf("%q is not a number", t)
	}
	return x, nil
}

func (p *lqnParser) count() (int, error) {
	x, err := p.number()
	if err != nil {
		return 0, err
	}
	return whole("a multiplicity", x, 1, maxServers)
}

// list reads numbers up to -1.
func (p *lqnParser) list() ([]float64, error) {
	var out []float64
	for p.peek() != "-1" {
		x, err := p.number()
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	p.next()
	return out, nil
}

func (p *lqnParser) file() error {
	for p.at < len(p.tokens) {
		var err error
		switch t := p.next(); t {
		case "G":
			for p.peek() != "-1" && p.at < len(p.tokens) {
				p.next()
			}
			p.next()
		case "P":
			err = p.section("p", p.processor)
		case "T":
			err = p.section("t", p.task)
		case "E":
			err = p.section("", p.entry)
		case "A":
			err = p.activities()
		default:
			err = fmt.Errorf("%q is not a section (G, P, T, E, A)", t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// section reads lines up to -1; the count at its head is not needed.
func (p *lqnParser) section(start string, line func() error) error {
	if _, err := strconv.Atoi(p.peek()); err == nil && p.peek() != "-1" {
		p.next()
	}
	for p.peek() != "-1" {
		if p.at >= len(p.tokens) {
			return errors.New("a section without its -1")
		}
		if start != "" && p.next() != start {
			return fmt.Errorf("expected %q", start)
		}
		if err := line(); err != nil {
			return err
		}
	}
	p.next()
	return nil
}

func (p *lqnParser) processor() error {
	x := LQNProcessor{Name: p.next()}
	switch s := p.next(); s {
	case "f":
	case "h":
		x.Scheduling = LQNHOL
	case "p":
		x.Scheduling = LQNPPR
	case "i":
		x.Scheduling = LQNINF
	case "s":
		if q, err := strconv.ParseFloat(p.peek(), 64); err == nil && q > 0 {
			p.next()
			x.Scheduling = LQNPS
		} else {
			if err == nil {
				p.next()
			}
			p.notes = append(p.notes, fmt.Sprintf("processor %s: sharing without a quantum is taken as first come first served", x.Name))
		}
	default:
		return fmt.Errorf("processor %s: scheduling %q is not supported (have f, h, p, s, i)", x.Name, s)
	}
	err := p.options(map[string]func() error{
		"m": func() (err error) { x.Servers, err = p.count(); return err },
		"i": func() error { x.Scheduling = LQNINF; return nil },
		"R": func() (err error) { x.Speed, err = p.number(); return err },
	})
	if err != nil {
		return fmt.Errorf("processor %s: %w", x.Name, err)
	}
	p.m.Processors = append(p.m.Processors, x)
	return nil
}

// options reads the letters that may follow a processor or a task, in any order, each by what reads what stands behind it.
func (p *lqnParser) options(known map[string]func() error) error {
	for {
		read, ok := known[p.peek()]
		if !ok {
			return nil
		}
		p.next()
		if err := read(); err != nil {
			return err
		}
	}
}

func (p *lqnParser) task() error {
	x := LQNTask{Name: p.next()}
	switch s := p.next(); s {
	case "r":
		x.Reference = true
	case "n", "f":
	case "i":
		x.Infinite = true
	default:
		return fmt.Errorf("task %s: scheduling %q is not supported (have r, n, f, i)", x.Name, s)
	}
	for p.peek() != "-1" && p.at < len(p.tokens) {
		p.m.Entries = append(p.m.Entries, LQNEntry{Name: p.next(), Task: x.Name})
	}
	p.next()
	x.Processor = p.next()
	if n, err := strconv.Atoi(p.peek()); err == nil && p.peek() != "-1" {
		p.next()
		x.Priority = n
	}
	err := p.options(map[string]func() error{
		"m": func() (err error) { x.Servers, err = p.count(); return err },
		"i": func() error { x.Infinite = true; return nil },
		"z": func() (err error) { x.Think, err = p.number(); return err },
	})
	if err != nil {
		return fmt.Errorf("task %s: %w", x.Name, err)
	}
	p.m.Tasks = append(p.m.Tasks, x)
	return nil
}

// entry reads one line of the entry section.
func (p *lqnParser) entry() error {
	op, name := p.next(), p.next()
	e := findEntry(p.m, name)
	if e == nil {
		return fmt.Errorf("entry %q belongs to no task", name)
	}
	switch op {
	case "A":
		e.Start = p.next()
		return nil
	case "a":
		x, err := p.number()
		e.Arrival = x
		return err
	case "s", "c", "Z", "f", "y", "z", "F":
	default:
		return fmt.Errorf("entry %s: line %q is not supported (have A, a, s, c, Z, f, y, z, F)", name, op)
	}
	to := ""
	if op == "y" || op == "z" || op == "F" {
		to = p.next()
	}
	values, err := p.list()
	if err != nil {
		return fmt.Errorf("entry %s: %w", name, err)
	}
	if op == "F" {
		if len(values) != 1 {
			return fmt.Errorf("entry %s: forwarding has one probability", name)
		}
		e.Forwards = append(e.Forwards, LQNForward{to, values[0]})
		return nil
	}
	if len(values) > lqnMaxPhases {
		return fmt.Errorf("entry %s: %d phases, at most %d", name, len(values), lqnMaxPhases)
	}
	for len(e.Phases) < len(values) {
		e.Phases = append(e.Phases, LQNActivity{})
	}
	for i, x := range values {
		e.Phases[i].set(op, to, x)
	}
	return nil
}

// set takes one parameter of a phase or activity by its letter.
func (a *LQNActivity) set(op, to string, x float64) {
	switch op {
	case "s":
		a.Service = x
	case "c":
		if a.SCV = x; x == 0 {
			a.SCV = Deterministic
		}
	case "Z":
		a.Think = x
	case "f":
		a.Deterministic = x != 0
	case "y", "z":
		if x > 0 {
			a.Calls = append(a.Calls, LQNCall{to, x, op == "z"})
		}
	}
}

func (p *lqnParser) activities() error {
	var task *LQNTask
	name := p.next()
	for i := range p.m.Tasks {
		if p.m.Tasks[i].Name == name {
			task = &p.m.Tasks[i]
		}
	}
	if task == nil {
		return fmt.Errorf("activities of task %q, which is not defined", name)
	}
	find := func(name string) *LQNActivity {
		for i := range task.Activities {
			if task.Activities[i].Name == name {
				return &task.Activities[i]
			}
		}
		task.Activities = append(task.Activities, LQNActivity{Name: name})
		return &task.Activities[len(task.Activities)-1]
	}
	for p.peek() != ":" && p.peek() != "-1" {
		if p.at >= len(p.tokens) {
			return errors.New("activities without their -1")
		}
		op, a := p.next(), p.next()
		switch op {
		case "s", "c", "Z", "f", "y", "z":
		default:
			return fmt.Errorf("activity %s: line %q is not supported (have s, c, Z, f, y, z)", a, op)
		}
		to := ""
		if op == "y" || op == "z" {
			to = p.next()
		}
		x, err := p.number()
		if err != nil {
			return fmt.Errorf("activity %s: %w", a, err)
		}
		find(a).set(op, to, x)
	}
	if p.next() == "-1" {
		return nil
	}
	for p.peek() != "-1" {
		if p.at >= len(p.tokens) {
			return errors.New("activities without their -1")
		}
		if p.peek() == ";" {
			p.next()
			continue
		}
		if err := p.link(task, find); err != nil {
			return fmt.Errorf("task %s: %w", name, err)
		}
	}
	p.next()
	return nil
}

// link reads one precedence: "a & b -> c", "a -> (0.3) b + (0.7) c", "a[e]".
func (p *lqnParser) link(task *LQNTask, find func(string) *LQNActivity) error {
	l := LQNLink{}
	side := func(names *[]string) (op string, err error) {
		for {
			if p.peek() == "(" {
				p.next()
				x, err := p.number()
				if err != nil {
					return "", err
				}
				l.Probability = append(l.Probability, x)
				if p.next() != ")" {
					return "", errors.New("a probability without its )")
				}
			}
			name := p.next()
			if name == "" || strings.Contains(";&+,()[]*:->", name) {
				return "", fmt.Errorf("%q where an activity was expected", name)
			}
			if p.peek() == "*" {
				return "", errors.New("loops in activity graphs are not supported")
			}
			*names = append(*names, name)
			if p.peek() == "[" {
				p.next()
				find(name).ReplyTo = p.next()
				if p.next() != "]" {
					return "", errors.New("a reply without its ], or to several entries, which is not supported")
				}
			}
			if t := p.peek(); t != "&" && t != "+" {
				return op, nil
			}
			if t := p.next(); op == "" || op == t {
				op = t
			} else {
				return "", errors.New("& and + on one side of a precedence")
			}
		}
	}
	op, err := side(&l.From)
	if err != nil {
		return err
	}
	l.And = op == "&"
	if p.peek() != "->" {
		return nil // only a reply
	}
	p.next()
	if op, err = side(&l.To); err != nil {
		return err
	}
	if op == "+" && len(l.Probability) != len(l.To) {
		return errors.New("every branch of an or-fork needs its probability")
	}
	if op != "+" && l.Probability != nil {
		return errors.New("probabilities without an or-fork")
	}
	task.Links = append(task.Links, l)
	return nil
}
