package topology

import (
	"reflect"
	"strings"
	"testing"
)

func TestKafkaURLs(t *testing.T) {
	for text, want := range map[string]KafkaURL{
		"kafka://[::1]:9092":                                                   {Brokers: []string{"[::1]:9092"}},
		"kafka://127.0.0.1:9092":                                               {Brokers: []string{"127.0.0.1:9092"}},
		"kafka://a:9092,b:9093/shop.orders?compression=zstd":                   {Brokers: []string{"a:9092", "b:9093"}, Topic: "shop.orders", Compression: "zstd"},
		"kafka://me:s%40cret@a:9092/?sasl=plain":                               {Brokers: []string{"a:9092"}, User: "me", Password: "s@cret", SASL: "plain"},
		"kafka+ssl://me@a:9092?sasl=scram-sha-512&password_env=PASS&ca=ca.pem": {Brokers: []string{"a:9092"}, TLS: true, User: "me", SASL: "scram-sha-512", PasswordEnv: "PASS", CA: "ca.pem"},
		"kafka+ssl://a:9092?cert=me.pem&key=me.key":                            {Brokers: []string{"a:9092"}, TLS: true, Cert: "me.pem", Key: "me.key"},
	} {
		got, err := ParseKafkaURL(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"tcp://a:9092": "kafka+ssl for TLS", "kafka://a": "HOST:PORT", "kafka://a,b:9092": "HOST:PORT", "kafka://a:9092/b/c": "letters", "kafka://a:9092?acks=1": `"acks"`,
		"kafka://a:9092?sasl=gssapi": "expected plain", "kafka://a:9092?sasl=plain": "without a user", "kafka://me:x@a:9092": "without sasl",
		"kafka://me@a:9092?sasl=plain": "expected the user's password", "kafka://me:x@a:9092?sasl=plain&password_env=X": "expected the user's password",
		"kafka://a:9092?ca=x": "kafka+ssl", "kafka+ssl://a:9092?cert=x": "go together", "kafka://a:9092?compression=brotli": "zstd",
		"kafka://me@a:9092?sasl=plain&password_env=a-b": "variable's name", "kafka://me:secret@a:9092:1:x": "not a URL", "kafka://a:9092?ca=": "one value",
	} {
		if _, err := ParseKafkaURL(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzKafkaURL(f *testing.F) {
	f.Add("kafka+ssl://me@a:9092,b:9092/t?sasl=plain&password_env=X&ca=f")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKafkaURL(text); err == nil && (len(k.Brokers) == 0 || k.User != "" && k.SASL == "") {
			t.Errorf("%q: %+v", text, k)
		}
	})
}
