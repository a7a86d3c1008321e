package app

import (
	"fmt"
	"testing"
)

func TestWhatServicesFindOfKafka(t *testing.T) {
	t.Setenv("SHOP_PASSWORD", "s3cret")
	path := func(file string) string { return "/shop/" + file }
	for url, want := range map[string]string{
		"kafka://a:9092,b:9092": "[ORDERS_KAFKA_TOPIC=orders KAFKA_BOOTSTRAP_SERVERS=a:9092,b:9092 KAFKA_SECURITY_PROTOCOL=PLAINTEXT]",
		"kafka+ssl://me@a:9092/prod.orders?sasl=scram-sha-512&password_env=SHOP_PASSWORD&ca=ca.pem": "[ORDERS_KAFKA_TOPIC=prod.orders KAFKA_BOOTSTRAP_SERVERS=a:9092 " +
			"KAFKA_SASL_MECHANISM=SCRAM-SHA-512 KAFKA_SASL_USERNAME=me KAFKA_SASL_PASSWORD=s3cret KAFKA_SSL_CA_LOCATION=/shop/ca.pem KAFKA_SECURITY_PROTOCOL=SASL_SSL]",
	} {
		if got := fmt.Sprint(kafkaEnviron("orders", url, path)); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	if got := fmt.Sprint(firstOfEach([]string{"A=1", "B=2", "A=3"})); got != "[A=1 B=2]" {
		t.Error(got)
	}
}
