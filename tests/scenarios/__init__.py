"""What Culvert promises, on real kernels and managers: each test starts from a snapshot of the lab.

cases         which server with which client, and the inventories for them
observation   what a machine looks like from the inside, and whether packets flow
"""
