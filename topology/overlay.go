package topology

import (
	"slices"
	"strings"
)

// overlaySystem merges one file over another; see Load for the rules.
func overlaySystem(base, over *node) *node {
	if over.get("calibration") != nil {
		base = withoutDemands(base, over)
	}
	merged := overlay(base, over)
	lower, upper := base.get("routes"), over.get("routes")
	if lower != nil && upper != nil && lower.value.kind == listKind && upper.value.kind == listKind {
		merged.get("routes").value = overlayRoutes(lower.value, upper.value)
	}
	return merged
}

// withoutDemands returns base without the demands of the routes that over has: what was measured of a route is all that there is
// to it. What was declared of a service that nobody called, or of a delay that was not found, would be added to it.
func withoutDemands(base, over *node) *node {
	declared, measured := base.get("demands"), over.get("demands")
	if declared == nil || measured == nil || declared.value.kind != mapKind {
		return base
	}
	rest := *declared.value
	rest.entries = slices.DeleteFunc(slices.Clone(rest.entries), func(e entry) bool { return measured.value.get(e.key) != nil })
	without := *base
	without.entries = slices.Clone(base.entries)
	without.get("demands").value = &rest
	return &without
}

// overlay merges over into base: maps at every depth, everything else is replaced, null takes a key away.
func overlay(base, over *node) *node {
	if base.kind != mapKind || over.kind != mapKind {
		return over
	}
	upper := make(map[string]*entry, len(over.entries))
	for i := range over.entries {
		upper[over.entries[i].key] = &over.entries[i]
	}
	out := &node{kind: mapKind, at: over.at, size: 1}
	for _, e := range base.entries {
		if u := upper[e.key]; u != nil {
			delete(upper, e.key)
			if u.value.kind == nullKind {
				continue
			}
			e = entry{e.key, u.keyAt, overlay(e.value, u.value)}
		}
		out.entries = append(out.entries, e)
	}
	for _, e := range over.entries {
		if upper[e.key] != nil {
			out.entries = append(out.entries, e)
		}
	}
	return out
}

// overlayRoutes merges routes by identity.
func overlayRoutes(base, over *node) *node {
	out := &node{kind: listKind, at: over.at, size: 1, items: append([]*node{}, base.items...)}
	byName, byMatch := map[string]int{}, map[string]int{}
	for i, r := range out.items {
		name, match := routeIdentity(r)
		if _, have := byMatch[match]; !have {
			byMatch[match] = i
		}
		if _, have := byName[name]; !have {
			byName[name] = i
		}
	}
	for _, r := range over.items {
		name, match := routeIdentity(r)
		i, ok := -1, false
		if e := r.get("name"); e != nil {
			i, ok = byName[name]
		}
		if !ok && r.get("path") != nil {
			i, ok = byMatch[match]
		}
		if ok {
			out.items[i] = overlay(out.items[i], r)
		} else {
			out.items = append(out.items, r)
		}
	}
	return out
}

// routeIdentity returns the name of a route, given or not, and what it matches.
func routeIdentity(r *node) (name, match string) {
	text := func(key string) string {
		if e := r.get(key); e != nil && e.value.isScalar() {
			return e.value.text
		}
		return ""
	}
	host := strings.ToLower(text("host"))
	if host == "*" {
		host = ""
	}
	match = strings.Join([]string{text("method"), host, text("path"), text("exact")}, "\x00")
	if name = text("name"); name == "" {
		name = strings.TrimSpace(text("method") + " " + text("path"))
	}
	return name, match
}
