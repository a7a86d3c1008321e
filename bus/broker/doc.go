// Package broker keeps work queues: the decisions of policy/workqueue, the messages in a journal, and whoever waits for
// messages.
//
// It promises: Publish reports success of a message of a durable queue only once it is on disk, of a relaxed one once
// the operating system has it (the death of the process loses nothing then, that of the machine up to a second); a
// message is given to consumers only after that. A dead message leaves its queue and enters its dead letter queue in one
// record of the journal, so a crash finds it in exactly one of them; so does a redriven one. An acknowledgement that was
// not on disk when the machine died may have its message delivered once more. It never drops a message to make room.
//
// One goroutine delivers, minds the clock and tidies up; Close ends it. The journal's goroutine tells publishers. Functions
// that callers hand over are called from these two, and must not block.
package broker
