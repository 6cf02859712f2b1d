// cri-client asks a container runtime over its CRI socket, as the kubelet does:
// to pull an image, or for the names of those that it has. It is a test tool.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	endpoint := flag.String("endpoint", "unix:///run/containerd/containerd.sock", "socket of the container runtime")
	flag.Parse()
	ask := map[string]func(context.Context, cri.ImageServiceClient, string) error{"images": images, "pull": pull}[flag.Arg(0)]
	if ask == nil || flag.NArg() > 2 {
		fmt.Fprintln(os.Stderr, "usage: cri-client [-endpoint unix:///PATH] {images | pull IMAGE}")
		os.Exit(2)
	}
	connection, err := grpc.NewClient(*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = ask(ctx, cri.NewImageServiceClient(connection), flag.Arg(1))
	}
	if err != nil {
		answer := status.Convert(err)
		fmt.Fprintf(os.Stderr, "cri-client: %s: %s\n", answer.Code(), answer.Message())
		os.Exit(1)
	}
}

func images(ctx context.Context, client cri.ImageServiceClient, _ string) error {
	answer, err := client.ListImages(ctx, &cri.ListImagesRequest{})
	for _, image := range answer.GetImages() {
		for _, name := range image.GetRepoTags() {
			fmt.Println(name)
		}
	}
	return err
}

func pull(ctx context.Context, client cri.ImageServiceClient, image string) error {
	answer, err := client.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}})
	if err == nil {
		fmt.Println(answer.GetImageRef())
	}
	return err
}
