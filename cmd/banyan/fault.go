package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// parseFaults reads faults as they stand on the command line: KIND:SERVICE[*N][/ZONE]@AT[+FOR][xFACTOR].
func parseFaults(texts []string) ([]simulate.Fault, error) {
	var faults []simulate.Fault
	for _, text := range texts {
		f, ok := parseFault(text)
		if !ok {
			return nil, usagef("--fault %q: want kill:WHO@AT, slow:WHO@AT+FORxFACTOR, errors:WHO@AT+FORxSHARE, stall:WHO@AT+FOR, isolate:WHO@AT+FOR (WHO is SERVICE[*N][/ZONE]) or partition:FROM>TO@AT+FOR, such as kill:catalog*1@10s", text)
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
	where, zone, hasZone := strings.Cut(where, "/")
	if hasZone {
		if f.Zone, err = strconv.Atoi(zone); err != nil || f.Zone < 1 {
			return f, false
		}
	}
	rest, every := strings.CutPrefix(where, "*")
	if every {
		where = rest
	}
	service, count, hasCount := strings.Cut(where, "*")
	if f.Service = service; every {
		if f.Service = "*"; service != "" {
			return f, false
		}
	}
	if hasCount {
		if f.Replicas, err = strconv.Atoi(count); err != nil || f.Replicas < 1 {
			return f, false
		}
	}
	return f, ok && f.Service != ""
}

func parseSpan(text string) (time.Duration, error) {
	d, err := topology.ParseDuration(text)
	return d.Std(), err
}

// parseFailures reads how often replicas fail: SERVICE=MTBF[/MTTR].
func parseFailures(texts []string) (map[string]simulate.Failures, error) {
	failures := map[string]simulate.Failures{}
	for _, text := range texts {
		service, times, ok := strings.Cut(text, "=")
		mtbf, mttr, both := strings.Cut(times, "/")
		var f simulate.Failures
		var err, err2 error
		f.MTBF, err = parseSpan(mtbf)
		if both {
			f.MTTR, err2 = parseSpan(mttr)
		}
		if !ok || service == "" || err != nil || err2 != nil || f.MTBF <= 0 {
			return nil, usagef("--failures %q: want SERVICE=MTBF/MTTR, such as catalog=1h/2m", text)
		}
		failures[service] = f
	}
	return failures, nil
}
