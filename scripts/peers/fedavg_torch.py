#!/usr/bin/env python3
"""FedAvg as a plain PyTorch loop: the work that `laconic fed run --method fedavg` does, for comparison.

200 clients with two label shards each of Fashion-MNIST, 20 of them a round, 10 local steps of 32 samples at rate 0.1, the
server takes the mean. Prints rounds/s, evaluations not included.

    python3 scripts/peers/fedavg_torch.py --model mlp --threads 1 --rounds 30
"""
import argparse
import gzip
import time

import numpy as np
import torch

FOLDER = "/usr/share/datasets/fashion-mnist"


def load(folder, part):
    with gzip.open(f"{folder}/{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255
    with gzip.open(f"{folder}/{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return images, labels


def shards(labels, clients, rng):
    order = np.argsort(labels, kind="stable").reshape(2 * clients, -1)
    deal = rng.permutation(2 * clients).reshape(clients, 2)
    return [torch.from_numpy(np.concatenate([order[a], order[b]])) for a, b in deal]


def build(model):
    if model == "logistic":
        return torch.nn.Linear(784, 10)
    return torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["logistic", "mlp"], default="mlp")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--local-steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", default=FOLDER)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images, labels = load(args.data, "train")
    test_images, test_labels = load(args.data, "t10k")
    mean = images.mean(0)
    images, labels = torch.from_numpy(images - mean), torch.from_numpy(labels)
    test_images, test_labels = torch.from_numpy(test_images - mean), torch.from_numpy(test_labels)
    parts = shards(labels.numpy(), args.clients, rng)

    model = build(args.model)
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    parameters = list(model.parameters())
    server = [p.detach().clone() for p in parameters]

    def one_round():
        total = [torch.zeros_like(p) for p in server]
        for client in rng.choice(args.clients, args.sample, replace=False):
            with torch.no_grad():
                for p, x in zip(parameters, server):
                    p.copy_(x)
            part = parts[client]
            for _ in range(args.local_steps):
                batch = part[torch.randint(len(part), (args.batch,))]
                optimizer.zero_grad()
                loss(model(images[batch]), labels[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                for t, p in zip(total, parameters):
                    t += p
        for x, t in zip(server, total):
            x.copy_(t / args.sample)

    one_round()  # warm
    begin = time.perf_counter()
    for _ in range(args.rounds):
        one_round()
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        for p, x in zip(parameters, server):
            p.copy_(x)
        accuracy = (model(test_images).argmax(1) == test_labels).float().mean().item()
    print(f"{args.rounds / seconds:.2f} rounds/s, {args.threads} threads, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
