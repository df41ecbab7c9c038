resource "huaweicloud_vpc" "this" {
  name = var.name
  cidr = var.vpc_cidr
  tags = var.tags
}

resource "huaweicloud_vpc_subnet" "this" {
  name       = var.name
  vpc_id     = huaweicloud_vpc.this.id
  cidr       = var.subnet_cidr
  gateway_ip = cidrhost(var.subnet_cidr, 1)
  tags       = var.tags
}

resource "huaweicloud_networking_secgroup" "broker" {
  name                 = "${var.name}-broker"
  description          = "AMQP from the function's subnet and from operators"
  delete_default_rules = true
}

resource "huaweicloud_networking_secgroup_rule" "broker_from_subnet" {
  security_group_id = huaweicloud_networking_secgroup.broker.id
  description       = "AMQP from the function and its trigger"
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "tcp"
  ports             = tostring(local.broker_port)
  remote_ip_prefix  = var.subnet_cidr
}

resource "huaweicloud_networking_secgroup_rule" "broker_from_operators" {
  for_each = toset(var.operator_cidrs)

  security_group_id = huaweicloud_networking_secgroup.broker.id
  description       = "AMQP and the management page for operators"
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "tcp"
  ports             = "${local.broker_port},15672"
  remote_ip_prefix  = each.value
}

resource "huaweicloud_networking_secgroup_rule" "broker_among_nodes" {
  security_group_id = huaweicloud_networking_secgroup.broker.id
  description       = "Traffic between the broker's nodes"
  direction         = "ingress"
  ethertype         = "IPv4"
  remote_group_id   = huaweicloud_networking_secgroup.broker.id
}

resource "huaweicloud_networking_secgroup_rule" "broker_out" {
  security_group_id = huaweicloud_networking_secgroup.broker.id
  description       = "Responses, and traffic between the broker's nodes"
  direction         = "egress"
  ethertype         = "IPv4"
  remote_ip_prefix  = var.vpc_cidr
}

# A function with VPC access has no public network, so it cannot reach the backup API and IAM. These three
# resources give it access.

resource "huaweicloud_vpc_eip" "egress" {
  count = var.nat_enabled ? 1 : 0

  name = "${var.name}-egress"
  tags = var.tags

  publicip {
    type = "5_bgp"
  }

  bandwidth {
    name        = "${var.name}-egress"
    share_type  = "PER"
    size        = var.nat_bandwidth
    charge_mode = "traffic"
  }
}

resource "huaweicloud_nat_gateway" "egress" {
  count = var.nat_enabled ? 1 : 0

  name      = "${var.name}-egress"
  spec      = "1"
  vpc_id    = huaweicloud_vpc.this.id
  subnet_id = huaweicloud_vpc_subnet.this.id
  tags      = var.tags
}

resource "huaweicloud_nat_snat_rule" "egress" {
  count = var.nat_enabled ? 1 : 0

  nat_gateway_id = huaweicloud_nat_gateway.egress[0].id
  subnet_id      = huaweicloud_vpc_subnet.this.id
  floating_ip_id = huaweicloud_vpc_eip.egress[0].id
}
