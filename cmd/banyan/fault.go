package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// parseFaults reads faults as they stand on the command line: KIND:SERVICE[*N]@AT[+FOR][xFACTOR].
func parseFaults(texts []string) ([]simulate.Fault, error) {
	var faults []simulate.Fault
	for _, text := range texts {
		f, ok := parseFault(text)
		if !ok {
			return nil, usagef("--fault %q: want kill:SERVICE*N@AT, stall:SERVICE*N@AT+FOR, isolate:SERVICE*N@AT+FOR, slow:SERVICE*N@AT+FORxFACTOR, errors:SERVICE*N@AT+FORxSHARE or partition:FROM>TO@AT+FOR, such as kill:catalog*1@10s", text)
		}
		faults = append(faults, f)
	}
	return faults, nil
}

func parseFault(text string) (f simulate.Fault, ok bool) {
	kind, rest, ok1 := strings.Cut(text, ":")
	where, when, ok2 := strings.Cut(rest, "@")
	if !ok1 || !ok2 {
		return f, false
	}
	f.Kind = simulate.FaultKind(kind)
	when, factor, hasFactor := strings.Cut(when, "x")
	at, length, hasLength := strings.Cut(when, "+")
	var err error
	if f.At, err = parseSpan(at); err != nil {
		return f, false
	}
	if hasLength {
		if f.For, err = parseSpan(length); err != nil {
			return f, false
		}
	}
	if hasFactor {
		if f.Factor, err = strconv.ParseFloat(factor, 64); err != nil {
			return f, false
		}
	}
	switch f.Kind {
	case simulate.FaultPartition:
		f.From, f.Service, ok = strings.Cut(where, ">")
		return f, ok && !hasFactor
	case simulate.FaultSlow, simulate.FaultErrors:
		ok = hasFactor
	case simulate.FaultKill, simulate.FaultStall, simulate.FaultIsolate:
		ok = !hasFactor
	}
	service, count, hasCount := strings.Cut(where, "*")
	f.Service = service
	if hasCount {
		if f.Replicas, err = strconv.Atoi(count); err != nil || f.Replicas < 1 {
			return f, false
		}
	}
	return f, ok && service != ""
}

func parseSpan(text string) (time.Duration, error) {
	d, err := topology.ParseDuration(text)
	return d.Std(), err
}
