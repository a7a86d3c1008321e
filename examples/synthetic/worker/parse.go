package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// step is one thing that a request does.
type step struct {
	verb   string
	time   time.Duration
	phases int      // of its Erlang distribution; 0: it is constant
	names  []string // of services
	share  float64
	n      int
}

const (
	maxSteps = 100
	maxTime  = time.Minute
	maxCount = 1_000_000
)

// parse reads what requests do; see the package comment.
func parse(text string) ([]step, error) {
	var steps []step
	held := 0
	for _, part := range strings.Split(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		s, err := parseStep(words)
		if err != nil {
			return nil, fmt.Errorf("WORK: %q: %w", strings.TrimSpace(part), err)
		}
		switch s.verb {
		case "acquire":
			held++
		case "release":
			held--
		}
		if held < 0 || held > 1 {
			return nil, fmt.Errorf("WORK: %q: permits are taken one at a time, and given back after that", strings.TrimSpace(part))
		}
		if steps = append(steps, s); len(steps) > maxSteps {
			return nil, fmt.Errorf("WORK has more than %d steps", maxSteps)
		}
	}
	return steps, nil
}

func parseStep(words []string) (s step, err error) {
	s = step{verb: words[0], share: 1}
	args := words[1:]
	want := func(n int) error {
		if len(args) != n {
			return fmt.Errorf("want %d words after %s", n, s.verb)
		}
		return nil
	}
	switch s.verb {
	case "cpu", "wait":
		if len(args) == 2 && args[1] == "exp" {
			s.phases, args = 1, args[:1]
		} else if len(args) == 2 && args[1] == "erlang" {
			s.phases, args = 4, args[:1]
		}
		if err = want(1); err != nil {
			return s, err
		}
		if s.time, err = time.ParseDuration(args[0]); err != nil || s.time < 0 || s.time > maxTime {
			return s, fmt.Errorf("want a time from 0s to %v", maxTime)
		}
	case "call":
		if len(args) == 2 {
			if s.share, err = share(args[1]); err != nil {
				return s, err
			}
			args = args[:1]
		}
		if err = want(1); err != nil {
			return s, err
		}
		s.names = strings.Split(args[0], "|")
	case "shard":
		if s.names = args; len(args) == 0 {
			return s, want(1)
		}
	case "get":
		s.names = args
		return s, want(1)
	case "put":
		if err = want(2); err != nil {
			return s, err
		}
		s.names = args[:1]
		if s.n, err = strconv.Atoi(args[1]); err != nil || s.n < 1 || s.n > maxItem {
			return s, fmt.Errorf("want a number of bytes from 1 to %d", maxItem)
		}
	case "fail":
		if err = want(1); err == nil {
			s.share, err = share(args[0])
		}
		return s, err
	case "cache", "acquire":
		if err = want(1); err != nil {
			return s, err
		}
		if s.n, err = strconv.Atoi(args[0]); err != nil || s.n < 1 || s.n > maxCount {
			return s, fmt.Errorf("want a number from 1 to %d", maxCount)
		}
	case "lock":
		s.verb, s.n = "acquire", 1
		return s, want(0)
	case "release", "unlock":
		s.verb = "release"
		return s, want(0)
	default:
		return s, fmt.Errorf("no such step: want cpu, wait, call, shard, get, put, cache, fail, acquire, release, lock or unlock")
	}
	return s, nil
}

// share reads 0.3 or 30%.
func share(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("want a share from 0 to 1, or 0%% to 100%%")
	}
	return v, nil
}
