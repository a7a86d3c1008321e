package queueing

import "strings"

// publishedPrograms are programs of Heidelberger and Trivedi, Analytic queueing models for programs with internal concurrency,
// IEEE TC 1983, as restated by the authors of the LQN tools: a step on the CPU with ten visits to four discs of 0.04, then two
// (table 1) or three (table 2) such steps in parallel. The sets differ in which step visits which discs.
func publishedPrograms() map[string]forkJoinStepJSON {
	visits := func(discs ...string) forkJoinStepJSON {
		v := map[string]float64{}
		for _, d := range discs {
			v[d] = 10 / float64(len(discs))
		}
		return forkJoinStepJSON{Visits: v}
	}
	program := func(first forkJoinStepJSON, parallel ...forkJoinStepJSON) forkJoinStepJSON {
		return forkJoinStepJSON{Sequence: []forkJoinStepJSON{first, {Parallel: parallel}}}
	}
	all := visits("d1", "d2", "d3", "d4")
	return map[string]forkJoinStepJSON{
		"table1/set1": program(all, all, all),
		"table1/set2": program(visits("d1", "d2"), visits("d1", "d2"), visits("d3", "d4")),
		"table1/set3": program(visits("d1", "d2", "d3"), visits("d1", "d2", "d3"), visits("d3", "d4")),
		"table2/set1": program(all, all, all, all),
	}
}

// publishedName is the table and set of a path such as models/h-t-83/table1/set2/set2.in.
func publishedName(path string) string {
	for _, part := range strings.Split(path, "table") {
		words := strings.Split(part, "/")
		if len(words) >= 2 && strings.HasPrefix(words[1], "set") {
			return "table" + words[0] + "/" + strings.TrimSuffix(words[1], ".in")
		}
	}
	return path
}
