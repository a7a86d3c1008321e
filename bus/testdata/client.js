// A client of queues and topics as one is written with the package "nats" of npm; it prints what it saw, one thing a line.
const { connect, headers, AckPolicy, DeliverPolicy } = require("nats");

async function main() {
  const conn = await connect({ servers: process.argv[2] });
  const js = conn.jetstream();
  const text = (m) => new TextDecoder().decode(m.data);

  // A queue: published to with an id, consumed, refused, consumed again, acknowledged.
  for (const _ of [1, 2]) {
    const ack = await js.publish("queues.jobs", "first", { msgID: "one" });
    console.log("published", ack.stream, ack.seq, ack.duplicate);
  }
  const h = headers();
  h.set("Banyan-Key", "anna");
  await js.publish("queues.jobs", "second", { headers: h });
  try {
    await js.publish("queues.jobs", "x".repeat(2000));
  } catch (err) {
    console.log("refused", err.message);
  }
  const jobs = await js.consumers.get("jobs", "workers");
  const m = await jobs.next({ expires: 10000 });
  console.log("got", text(m), m.info.deliveryCount);
  m.nak();
  for await (const again of await jobs.fetch({ max_messages: 2, expires: 10000 })) {
    console.log("got", text(again), again.info.deliveryCount, await again.ackAck());
  }
  const none = await jobs.fetch({ max_messages: 5, expires: 1000 });
  for await (const left of none) console.log("left", text(left));

  // A topic: published to, and read from its beginning by a consumer of its own.
  for (const body of ["a", "b", "c"]) await js.publish("topics.news.key", body);
  const jsm = await conn.jetstreamManager();
  await jsm.consumers.add("news", { durable_name: "reader", ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All });
  const news = await js.consumers.get("news", "reader");
  const read = [];
  for await (const e of await news.fetch({ max_messages: 3, expires: 10000 })) {
    read.push(text(e));
    e.ack();
  }
  console.log("read", read.join(","));
  await conn.drain();
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
