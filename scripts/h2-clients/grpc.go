// grpc URL CA CONNECTIONS STREAMS MOST: unary calls by google.golang.org/grpc, whose channels may connect once, until standard
// input ends. The first channel has MOST calls at once, the others STREAMS. Prints figures as JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

var (
	isOver     atomic.Bool
	requests   atomic.Int64
	failed     atomic.Int64
	reconnects atomic.Int64
	mutex      sync.Mutex
	trouble    = []string{}
)

// Messages are bytes as they are.
type raw struct{}

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(bytes []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), bytes...)
	return nil
}
func (raw) Name() string { return "raw" }

func wrong(err error) {
	failed.Add(1)
	mutex.Lock()
	defer mutex.Unlock()
	trouble = append(trouble, err.Error())
}

func connect(server *url.URL) (*grpc.ClientConn, error) {
	var dials atomic.Int64
	once := grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			reconnects.Add(1)
			return nil, errors.New("one connection a channel")
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	})
	security := grpc.WithInsecure()
	if server.Scheme == "https" {
		trusted, err := credentials.NewClientTLSFromFile(os.Args[2], "localhost")
		if err != nil {
			return nil, err
		}
		security = grpc.WithTransportCredentials(trusted)
	}
	return grpc.Dial(server.Host, once, security, grpc.WithBlock())
}

func ask(conn *grpc.ClientConn) error {
	sizes := []int{0, 10, 1000, 100_000}
	message := bytes.Repeat([]byte("r"), sizes[rand.Intn(len(sizes))])
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var answer []byte
	if err := conn.Invoke(ctx, "/test.Echo/Echo", &message, &answer, grpc.ForceCodec(raw{})); err != nil {
		return err
	}
	if !bytes.Equal(message, answer) {
		return errors.New("another message than was sent")
	}
	return nil
}

func main() {
	server, err := url.Parse(os.Args[1])
	if err != nil {
		panic(err)
	}
	connections, _ := strconv.Atoi(os.Args[3])
	streams, _ := strconv.Atoi(os.Args[4])
	most, _ := strconv.Atoi(os.Args[5])
	var workers sync.WaitGroup
	for at := 0; at < connections; at++ {
		conn, err := connect(server)
		if err != nil {
			wrong(err)
			continue
		}
		count := streams
		if at == 0 {
			count = most
		}
		for stream := 0; stream < count; stream++ {
			workers.Add(1)
			go func() {
				defer workers.Done()
				for !isOver.Load() {
					if err := ask(conn); err != nil {
						wrong(err)
					}
					requests.Add(1)
					time.Sleep(time.Duration(rand.Intn(40)) * time.Millisecond)
				}
			}()
		}
	}
	io.Copy(io.Discard, os.Stdin)
	isOver.Store(true)
	workers.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"connections": connections, "requests": requests.Load(), "failed": failed.Load(),
		"reconnects": reconnects.Load(), "trouble": trouble,
	})
}
