package main

import (
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/topology"
)

// persistFlags are what the cache that stands alone takes from its command line about what is kept on disk.
type persistFlags struct {
	dir, append, snapshot string
	repair                bool
}

func (f *persistFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.dir, "dir", "", "`folder` in which the cache is kept, and restored from (default: it is not)")
	flags.StringVar(&f.append, "append", "", "when the append file is synced: always, everysec, no; off: there is none (default: everysec)")
	flags.StringVar(&f.snapshot, "snapshot", "", "how often a snapshot is written, such as 5m (default: never)")
	flags.BoolVar(&f.repair, "repair", false, "cut a damaged file off where it is damaged, and keep the rest beside it")
}

// config joins the flags with what the file says of the cache, if it is of one.
func (f *persistFlags) config(sys *topology.System, name, stateDir string) (cache.Persist, error) {
	var p cache.Persist
	if sys != nil {
		p = app.CachePersist(sys, name, stateDir)
	}
	p.Repair = f.repair
	if f.dir != "" {
		abs, err := filepath.Abs(f.dir)
		if err != nil {
			return p, err
		}
		p.Dir = abs
	}
	if f.append != "" {
		p.Append = f.append
	}
	if f.snapshot != "" {
		d, err := topology.ParseDuration(f.snapshot)
		if err != nil {
			return p, usagef("--snapshot: %w", err)
		}
		p.Snapshot = d.Std()
	}
	if p.Dir == "" && (f.append != "" || f.snapshot != "" || f.repair) {
		return p, usagef("--append, --snapshot and --repair need a folder: --dir")
	}
	return p, nil
}

// keptIn says where a cache is kept, for the line that says that it runs.
func keptIn(p cache.Persist) string {
	switch {
	case p.Dir == "":
		return ""
	case p.Append == "off":
		return ", snapshots in " + p.Dir
	}
	return ", kept in " + p.Dir + " (fsync: " + p.Append + ")"
}
