// Command clients puts, reads, watches and leases with etcd's own Go client against running members.
//
// Usage: clients HOST:PORT[,HOST:PORT...]. It prints one line per step that held and exits 1 at the first that does not.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const wait = 20 * time.Second

func check(step string, holds bool, seen any) {
	if !holds {
		fmt.Fprintf(os.Stderr, "%s: %v\n", step, seen)
		os.Exit(1)
	}
	fmt.Println("ok", step)
}

func must[T any](step string) func(T, error) T {
	return func(value T, err error) T {
		check(step, err == nil, err)
		return value
	}
}

func connect(endpoints ...string) *clientv3.Client {
	return must[*clientv3.Client]("connect to " + strings.Join(endpoints, ","))(
		clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: wait}))
}

func main() {
	endpoints := strings.Split(os.Args[1], ",")
	ctx, cancel := context.WithTimeout(context.Background(), 3*wait)
	defer cancel()
	writer, reader := connect(endpoints[0]), connect(endpoints[len(endpoints)-1])
	defer writer.Close()
	defer reader.Close()

	put := must[*clientv3.PutResponse]("put")(writer.Put(ctx, "/go/a", "1"))
	got := must[*clientv3.GetResponse]("get")(reader.Get(ctx, "/go/a"))
	check("a put through one member is read through another", len(got.Kvs) == 1 && string(got.Kvs[0].Value) == "1", got)
	check("it has the revision of its answer", got.Kvs[0].ModRevision == put.Header.Revision, got)

	// A watch from the past and a live one see the same.
	watching, stop := context.WithCancel(ctx)
	past := reader.Watch(watching, "/go/", clientv3.WithPrefix(), clientv3.WithRev(put.Header.Revision), clientv3.WithPrevKV())
	live := writer.Watch(watching, "/go/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	check("a watch is created", (<-live).Created, nil)
	must[*clientv3.PutResponse]("put again")(writer.Put(ctx, "/go/a", "2"))
	txn := must[*clientv3.TxnResponse]("transaction")(writer.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("/go/a"), "=", "2")).
		Then(clientv3.OpPut("/go/b", "3"), clientv3.OpDelete("/go/a")).Commit())
	check("its compare held", txn.Succeeded, txn)
	shapes := func(events <-chan clientv3.WatchResponse, count int) []string {
		var seen []string
		for len(seen) < count {
			response, open := <-events
			// Not a step: how many messages carry the events is the server's choice.
			if !open || response.Err() != nil {
				check("the watch goes on", false, response.Err())
			}
			for _, event := range response.Events {
				shape := fmt.Sprintf("%s %s=%s@%d", event.Type, event.Kv.Key, event.Kv.Value, event.Kv.ModRevision-put.Header.Revision)
				if event.PrevKv != nil {
					shape += " was " + string(event.PrevKv.Value)
				}
				seen = append(seen, shape)
			}
		}
		return seen
	}
	fromPast := strings.Join(shapes(past, 4), "; ")
	check("a watch from the past sees everything in order",
		fromPast == "PUT /go/a=1@0; PUT /go/a=2@1 was 1; PUT /go/b=3@2; DELETE /go/a=@2 was 2", fromPast)
	fromNow := strings.Join(shapes(live, 3), "; ")
	check("a live watch sees what came after it", fromNow == "PUT /go/a=2@1; PUT /go/b=3@2; DELETE /go/a=@2", fromNow)
	stop()

	lease := must[*clientv3.LeaseGrantResponse]("grant")(writer.Grant(ctx, 2))
	expiring := reader.Watch(ctx, "/go/leased")
	must[*clientv3.PutResponse]("put under a lease")(writer.Put(ctx, "/go/leased", "x", clientv3.WithLease(lease.ID)))
	renewed := must[*clientv3.LeaseKeepAliveResponse]("renewal through another member")(reader.KeepAliveOnce(ctx, lease.ID))
	check("it has its whole time again", renewed.TTL == 2, renewed.TTL)
	expired := shapes(expiring, 2)
	check("an expired lease deletes its key", strings.HasPrefix(expired[1], "DELETE /go/leased"), expired)

	session := must[*concurrency.Session]("session")(concurrency.NewSession(writer, concurrency.WithTTL(10)))
	mutex := concurrency.NewMutex(session, "/go/lock")
	check("a lock is taken", mutex.Lock(ctx) == nil, nil)
	other := must[*concurrency.Session]("second session")(concurrency.NewSession(reader, concurrency.WithTTL(10)))
	check("a taken lock is not had twice", concurrency.NewMutex(other, "/go/lock").TryLock(ctx) == concurrency.ErrLocked, nil)
	check("a lock is given back", mutex.Unlock(ctx) == nil, nil)
}
