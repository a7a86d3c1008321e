package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/topology"
)

// storeFlags are what the tables that stand alone take from their command line.
type storeFlags struct {
	listen, dir, usersFile, region, cache string
	verbose                               bool
}

func (c *cli) store() *cobra.Command {
	var f storeFlags
	cmd := &cobra.Command{
		Use:     "store",
		GroupID: "run",
		Short:   "Run tables alone, for any AWS SDK",
		Long: `Run tables alone, behind the DynamoDB API, for any AWS SDK: set AWS_ENDPOINT_URL_DYNAMODB to the address. With -f the embedded
tables of the file are created if they are not there; clients may create others.

Nothing that was acknowledged is lost when the process or the machine dies. Signatures are not checked on a loopback address;
--users-file names those who may sign, one 'ACCESS-KEY SECRET' a line, and is needed on any other address.`,
		Example: `  banyan store --dir /var/lib/tables
  banyan store -f banyan.yaml --listen 0.0.0.0:8000 --users-file users
  AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 aws dynamodb list-tables`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.storeConfig(f)
			if err != nil {
				return err
			}
			s, err := store.New(cfg)
			if err != nil {
				return err
			}
			if err := s.Listen(); err != nil {
				return err
			}
			checked := "signatures are not checked"
			if s.Authenticated() {
				checked = "signatures are checked, of " + plural(len(cfg.Users), "user")
			}
			fmt.Fprintf(c.out, "tables on %s (region %s; %s), data in %s\n", s.URL(), s.Region(), checked, cfg.Dir)
			return s.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8000", "`address` to be reached at")
	flags.StringVar(&f.dir, "dir", "banyan-store", "`folder` for the data")
	flags.StringVar(&f.usersFile, "users-file", "", "`file` with the users who may sign requests: 'ACCESS-KEY SECRET', one a line")
	flags.StringVar(&f.region, "region", "us-east-1", "region that the names of resources have")
	flags.StringVar(&f.cache, "cache", "64MiB", "memory for blocks of data")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	return cmd
}

// storeConfig joins the flags with what the file says.
func (c *cli) storeConfig(f storeFlags) (store.Config, error) {
	cfg := store.Config{Listen: f.listen, Dir: f.dir, Region: f.region, Log: c.logger(f.verbose)}
	cache, err := topology.ParseBytes(f.cache)
	if err != nil {
		return cfg, usagef("--cache: %w", err)
	}
	if cfg.Cache = int64(cache); cfg.Cache < 1<<20 {
		return cfg, usagef("--cache %s: expected 1MiB or more", f.cache)
	}
	if len(c.files) > 0 {
		sys, err := topology.Load(c.files...)
		if err != nil {
			return cfg, wrongUse{err}
		}
		cfg.Tables = store.FromFile(sys)
		for _, line := range store.Unsupported(sys) {
			fmt.Fprintln(c.err, line)
		}
	}
	if f.usersFile != "" {
		if cfg.Users, err = readUsers(f.usersFile); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// readUsers reads secrets by access key. Empty lines, and those that begin with #, are left out.
func readUsers(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	users := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) != 2:
			return nil, usagef("--users-file %s, line %d: expected an access key and a secret", path, i+1)
		case users[fields[0]] != "":
			return nil, usagef("--users-file %s, line %d: %s is there twice", path, i+1, fields[0])
		default:
			users[fields[0]] = fields[1]
		}
	}
	if len(users) == 0 {
		return nil, usagef("--users-file %s has no users", path)
	}
	return users, nil
}
