package topology

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// KafkaURL says where a topic of Kafka is and how to get at it:
//
//	kafka://USER:PASSWORD@HOST:PORT,HOST:PORT/TOPIC?sasl=scram-sha-512&compression=zstd
//
// and kafka+ssl:// over TLS.
type KafkaURL struct {
	// Brokers to begin with, as HOST:PORT.
	Brokers []string
	// Topic there; empty: the name that the file has.
	Topic string
	// TLS to the brokers.
	TLS bool
	// CA, Cert and Key are files in PEM: who may have signed the brokers' certificates, in place of the system's; and who we are.
	CA, Cert, Key string
	// SASL is plain, scram-sha-256 or scram-sha-512; empty: nobody says who they are.
	SASL           string
	User, Password string
	// PasswordEnv names the variable of Banyan's environment that holds the password, so that it need not be in the file.
	PasswordEnv string
	// Compression of what is published: none, gzip, snappy, lz4 or zstd; empty: snappy.
	Compression string
}

// kafkaTopic is what Kafka takes as the name of a topic.
var kafkaTopic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// ParseKafkaURL reads one.
func ParseKafkaURL(text string) (k KafkaURL, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return k, errors.New("not a URL such as kafka://127.0.0.1:9092") // the error has the password in it
	}
	switch u.Scheme {
	case "kafka":
	case "kafka+ssl":
		k.TLS = true
	default:
		return k, fmt.Errorf("scheme %q: expected kafka, or kafka+ssl for TLS", u.Scheme)
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil || name == "" || port == "" {
			return k, fmt.Errorf("broker %q: expected HOST:PORT, with commas between several", host)
		}
		k.Brokers = append(k.Brokers, host)
	}
	if k.Topic = strings.TrimPrefix(u.Path, "/"); k.Topic != "" && (!kafkaTopic.MatchString(k.Topic) || k.Topic == "." || k.Topic == "..") {
		return k, fmt.Errorf("topic %q: Kafka takes letters, digits, dots, dashes and underscores", k.Topic)
	}
	if u.User != nil {
		k.User = u.User.Username()
		k.Password, _ = u.User.Password()
	}
	if err := k.parameters(u.RawQuery); err != nil {
		return k, err
	}
	return k, k.check()
}

// parameters reads what stands behind the question mark.
func (k *KafkaURL) parameters(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters can't be read")
	}
	fields := map[string]*string{"ca": &k.CA, "cert": &k.Cert, "key": &k.Key, "sasl": &k.SASL, "password_env": &k.PasswordEnv, "compression": &k.Compression}
	for _, name := range sortedKeys(values) {
		field := fields[name]
		if field == nil {
			return fmt.Errorf("parameter %q: expected one of %s", name, strings.Join(sortedKeys(fields), ", "))
		}
		if *field = values[name][0]; len(values[name]) > 1 || *field == "" {
			return fmt.Errorf("parameter %q: expected one value", name)
		}
	}
	return nil
}

// check says what does not go together.
func (k *KafkaURL) check() error {
	switch {
	case k.SASL != "" && !slices.Contains([]string{"plain", "scram-sha-256", "scram-sha-512"}, k.SASL):
		return fmt.Errorf("sasl=%s: expected plain, scram-sha-256 or scram-sha-512", k.SASL)
	case k.SASL != "" && k.User == "":
		return errors.New("sasl without a user: expected USER@ before the brokers")
	case k.SASL == "" && k.User != "":
		return errors.New("a user without sasl: say sasl=plain, scram-sha-256 or scram-sha-512")
	case k.User != "" && (k.Password == "") == (k.PasswordEnv == ""):
		return errors.New("expected the user's password, or password_env with the name of the variable that holds it")
	case k.PasswordEnv != "" && !envPattern.MatchString(k.PasswordEnv):
		return fmt.Errorf("password_env=%s: expected a variable's name", k.PasswordEnv)
	case k.PasswordEnv != "" && k.User == "":
		return errors.New("password_env without a user: expected USER@ before the brokers")
	case !k.TLS && k.CA+k.Cert+k.Key != "":
		return errors.New("ca, cert and key are of TLS: expected kafka+ssl://")
	case (k.Cert == "") != (k.Key == ""):
		return errors.New("cert and key go together")
	case k.Compression != "" && !slices.Contains([]string{"none", "gzip", "snappy", "lz4", "zstd"}, k.Compression):
		return fmt.Errorf("compression=%s: expected none, gzip, snappy, lz4 or zstd", k.Compression)
	}
	return nil
}

// leaves is part of ofEngine: what the file must not say of a topic that another engine has.
func (t Topic) leaves(field string) bool {
	switch field {
	case "durability", "compatibility":
		return t.Engine != "embedded" && t.Engine != ""
	case "retain":
		return t.Engine == "kafka"
	}
	return false
}

// topicElsewhere checks a topic that another engine has: its URL, and that nothing is asked for which that engine alone decides.
func (c *checker) topicElsewhere(v *Topic, s spot) {
	refuse := func(field, why string) {
		if s.child(field).node != nil {
			c.at(s.child(field), Problem{Message: why, Expected: "no " + field + " beside engine: " + v.Engine})
		}
	}
	switch v.Engine {
	case "nats":
		refuse("durability", "what can be lost is up to the stream of the NATS servers: its storage and its replicas")
	case "kafka":
		refuse("durability", "Kafka acknowledges what all replicas in sync have (acks=all); how many that must be is up to the topic's min.insync.replicas")
		refuse("retain", "how long events are kept is up to Kafka: the topic's retention.ms")
		if _, err := ParseKafkaURL(v.URL); err != nil && v.URL != "" {
			c.at(s.child("url"), Problem{Message: err.Error()})
		}
	}
}
