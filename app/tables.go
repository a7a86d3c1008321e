package app

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/topology"
)

// unsupportedTables says which tables of a valid file can't be run.
func unsupportedTables(sys *topology.System) (parts []string) {
	for _, name := range slices.Sorted(maps.Keys(sys.Tables)) {
		if sys.Tables[name].Engine == "embedded" && len(name) < 3 {
			parts = append(parts, "tables."+name+": the name of a table has 3 characters or more behind the DynamoDB API")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Services)) {
		if first, other := tableEngines(sys, sys.Services[name].Uses); other != "" {
			parts = append(parts, fmt.Sprintf("services.%s: uses tables at two places, %s and %s: an AWS SDK has one endpoint for DynamoDB", name, first, other))
		}
	}
	return parts
}

// tableEngines is where the tables are that a service uses: embedded, or a URL; and a second place, if there is one.
func tableEngines(sys *topology.System, uses []string) (first, other string) {
	for _, used := range uses {
		kind, name := topology.ServiceOf(used)
		t := sys.Tables[name]
		if kind != "tables" || t == nil {
			continue
		}
		place := t.Engine
		if place != "embedded" {
			place = t.URL
		}
		switch {
		case first == "":
			first = place
		case place != first:
			other = place
		}
	}
	return first, other
}

// openTables reads what the tables hold, and opens their address, if the file has any.
func (a *App) openTables() error {
	sys := a.cfg.System
	tables := store.FromFile(sys)
	if a.cfg.GatewayOnly || len(tables) == 0 {
		return nil
	}
	s, err := store.New(store.Config{Dir: filepath.Join(a.cfg.Dir, "data", "tables"), Tables: tables, Log: a.cfg.Log.With("part", "tables")})
	if err != nil {
		return err
	}
	if err := s.Listen(); err != nil {
		return err
	}
	a.tables.Store(s)
	return nil
}

// Credentials that services find in their environment. The tables listen on loopback and check none; SDKs want some.
const tableCredentials = "banyan"

// tablesEnviron is what a service finds in its environment of the tables that it uses: their endpoint under the names that AWS SDKs
// know and, for embedded ones, a region and credentials. For tables elsewhere those are the ones that Banyan itself was started with.
func (a *App) tablesEnviron(service string) []string {
	sys := a.system.Load()
	svc := sys.Services[service]
	if svc == nil {
		return nil
	}
	place, _ := tableEngines(sys, svc.Uses)
	if place == "" {
		return nil
	}
	s := a.tables.Load()
	if place != "embedded" || s == nil {
		return []string{"AWS_ENDPOINT_URL_DYNAMODB=" + place}
	}
	return []string{
		"AWS_ENDPOINT_URL_DYNAMODB=" + s.URL(), "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=" + s.URL(), "AWS_REGION=" + s.Region(),
		"AWS_ACCESS_KEY_ID=" + tableCredentials, "AWS_SECRET_ACCESS_KEY=" + tableCredentials,
	}
}

// tableEndpoints says, for people, where the tables are, and what they are not yet.
func (a *App) tableEndpoints() []string {
	s := a.tables.Load()
	if s == nil {
		return nil
	}
	lines := []string{"tables on " + s.URL() + " (DynamoDB API, region " + s.Region() + "; signatures are not checked on loopback)"}
	return append(lines, store.Unsupported(a.cfg.System)...)
}

// warnOfTables says that a gateway alone does not start the tables of the file.
func warnOfTables(sys *topology.System, log *slog.Logger) {
	for _, t := range store.FromFile(sys) {
		log.Warn("the gateway alone does not start the file's tables: 'banyan store' runs them, for services that run elsewhere", "table", t.Name)
	}
}
